#include "tools/disk_exports.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <thread>
#include <utility>

#include "migration/errc.h"
#include "tools/command_failure.h"
#include "tools/detached_process.h"
#include "tools/mover_client.h"
#include "tools/nbdkit_process.h"
#include "transfer/live_disk.h"

namespace vhdxm::tools {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

/// A log that is replayed takes seconds at most; a mover that is not there by then is stuck.
constexpr milliseconds kStartPatience{30'000};
constexpr milliseconds kAskPatience{5'000};
/// Flushing what guests have written.
constexpr milliseconds kClosePatience{60'000};
constexpr milliseconds kFirstRetry{500};
constexpr milliseconds kLastRetry{30'000};
constexpr milliseconds kLookForSocket{20};
/// Clients are those who may open the run folder; the group of its sockets is the folder's.
constexpr mode_t kClientSocketMode = S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP;

struct Places {
  std::string lock;
  std::string control;
  std::string clients;
};

Places places_of(const std::string& run_folder, const std::string& name) {
  return {.lock = fmt::format("{}/movers/{}.lock", run_folder, name),
          .control = fmt::format("{}/movers/{}.sock", run_folder, name),
          .clients = fmt::format("{}/disks/{}.sock", run_folder, name)};
}

bool says(const boost::json::object& answer, const char* name) {
  const auto* value = answer.if_contains(name);
  return value != nullptr && *value == boost::json::value(true);
}

}  // namespace

const char* to_string(ExportStatus::State state) {
  switch (state) {
    case ExportStatus::State::kStarting:
      return "starting";
    case ExportStatus::State::kExported:
      return "exported";
    case ExportStatus::State::kFailed:
      return "failed";
    case ExportStatus::State::kReleased:
      return "released";
  }
  return "unknown";
}

/// One disk, and the thread that sees to its mover.
class DiskExports::Watch {
 public:
  Watch(const Setting& setting, migration::RegisteredDisk disk, ServiceLog& log)
      : setting_(setting),
        places_(places_of(setting.run_folder, disk.name)),
        disk_(std::move(disk)),
        log_(log) {
    status_.socket = places_.clients;
    thread_ = std::thread([this] { run(); });
  }
  ~Watch() {
    stop();
    if (thread_.joinable()) thread_.join();
  }

  ExportStatus settled() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock,
                  [&] { return stopping_ || status_.state != ExportStatus::State::kStarting; });
    lock.unlock();
    return status();
  }

  ExportStatus status() {
    ExportStatus now;
    {
      const std::lock_guard lock(mutex_);
      now = status_;
    }
    if (now.state != ExportStatus::State::kExported) return now;
    const auto answer = ask_mover(places_.control, "status", {}, kAskPatience);
    if (answer.has_error()) return now;
    now.clients = number_of(*answer, "clients");
    if (says(*answer, "fenced")) {
      now.state = ExportStatus::State::kReleased;
      now.problem = "another host owns the disk, or will; clients that are connected may read";
      now.advice = "Use it at the host that owns it; `vhdx-migrate move` there brings it back.";
    }
    return now;
  }

  std::optional<std::string> move(const std::string& id) const {
    auto client = MoverClient::connect(places_.control);
    if (client.has_error()) return describe(client.error());
    boost::json::object wish;
    wish["id"] = id;
    const auto answer = client->ask("move", wish, kAskPatience);
    if (answer.has_error()) return describe(answer.error());
    if (answer->contains("error")) return text_of(*answer, "message");
    const auto deadline = Clock::now() + kStartPatience;
    while (Clock::now() < deadline) {
      const auto event =
          client->next(std::chrono::duration_cast<milliseconds>(deadline - Clock::now()));
      if (event.has_error()) return describe(event.error());
      if (!event->has_value()) return "its mover ended";
      if (text_of(**event, "event") != "move") continue;
      if (says(**event, "begun")) return std::nullopt;
      return "its mover could not begin: what it said stands in the service's log";
    }
    return "its mover does not say that it has begun";
  }

  std::optional<Refusal> end(bool force) {
    auto client = MoverClient::connect(places_.control);
    if (client.has_error()) return end_without_mover();
    boost::json::object wish;
    wish["force"] = force;
    expect_end(true);
    const auto answer = client->ask("end", wish, kAskPatience);
    if (answer.has_error() || answer->contains("error")) expect_end(false);
    if (answer.has_error()) return Refusal{.problem = describe(answer.error())};
    if (text_of(*answer, "error") == "in_use") {
      return Refusal{.in_use = true, .clients = number_of(*answer, "clients"), .problem = {}};
    }
    if (answer->contains("error")) return Refusal{.problem = text_of(*answer, "message")};
    const auto closed = client->next(kClosePatience);
    const auto deadline = Clock::now() + kClosePatience;
    // The mover ends after it has closed the disk; then its lock is free.
    while (is_alive() && Clock::now() < deadline) std::this_thread::sleep_for(kLookForSocket);
    if (is_alive()) {
      expect_end(false);
      return Refusal{.problem = "its mover does not end: it still closes the disk, or is stuck"};
    }
    const bool well = closed.has_value() && closed->has_value() && says(**closed, "well");
    if (well) {
      log_.info(fmt::format("{}: closed", disk_.name));
    } else {
      log_.error(
          fmt::format("{}: its mover ended without closing the disk; nothing that was "
                      "flushed is lost: the next one who opens it replays its log",
                      disk_.name));
    }
    stop();
    return std::nullopt;
  }

  void stop() {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (watched_ != nullptr) watched_->cancel();
    changed_.notify_all();
  }

 private:
  std::optional<Refusal> end_without_mover() {
    if (is_alive()) return Refusal{.problem = "its mover lives, and does not answer"};
    stop();
    return std::nullopt;
  }

  void expect_end(bool expected) {
    const std::lock_guard lock(mutex_);
    end_expected_ = expected;
    changed_.notify_all();
  }

  bool is_alive() const {
    const auto lock = ProcessLock::take(places_.lock);
    return lock.has_value() && !lock->has_value();
  }

  void run() {
    milliseconds retry = kFirstRetry;
    while (!is_stopping()) {
      const auto begun = Clock::now();
      if (auto client = find_or_start()) {
        watch(*client);
        if (end_was_expected()) continue;
        log_.warning(fmt::format("{}: its mover ended by itself; starting it again", disk_.name));
        set_state(ExportStatus::State::kStarting, {});
      }
      if (Clock::now() - begun > kLastRetry) retry = kFirstRetry;
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, retry, [&] { return stopping_; });
      retry = std::min(retry * 2, kLastRetry);
    }
  }

  /// Waits until it is known whether an end that was asked for has come.
  bool end_was_expected() {
    std::unique_lock lock(mutex_);
    const bool expected = end_expected_;
    changed_.wait(lock, [&] { return stopping_ || !end_expected_; });
    return stopping_ || expected;
  }

  bool is_stopping() {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }

  void set_state(ExportStatus::State state, const CommandFailure& failure) {
    const std::lock_guard lock(mutex_);
    // The same failure again is no news.
    if (state == ExportStatus::State::kFailed && failure.message != status_.problem) {
      log_.error(fmt::format("{}: cannot be exported: {}", disk_.name, failure.message));
    }
    status_.state = state;
    status_.problem = failure.message;
    status_.advice = failure.advice;
    changed_.notify_all();
  }

  std::optional<MoverClient> fail(const CommandFailure& failure) {
    set_state(ExportStatus::State::kFailed, failure);
    return std::nullopt;
  }
  std::optional<MoverClient> fail(std::string message, std::string advice) {
    return fail(CommandFailure{.message = std::move(message),
                               .advice = std::move(advice),
                               .exit = ExitCode::kFailed,
                               .ownership = {}});
  }

  /// A connection to the disk's mover, which is asked how it is.
  std::optional<MoverClient> find_or_start() {
    const auto deadline = Clock::now() + kStartPatience;
    while (!is_stopping()) {
      auto lock = ProcessLock::take(places_.lock);
      if (lock.has_error()) return fail(failure_of(lock.error()));
      const bool adopts = !lock->has_value();
      if (!adopts && !start(**lock)) return std::nullopt;
      if (auto client = MoverClient::connect(places_.control); client.has_value()) {
        return greet(std::move(*client), adopts);
      }
      // One that was being started when its service was killed is not there at once.
      if (Clock::now() > deadline) break;
      std::this_thread::sleep_for(kLookForSocket);
    }
    return fail("its mover lives, and does not listen", "End it: it holds " + places_.lock);
  }

  std::optional<MoverClient> greet(MoverClient client, bool adopts) {
    const auto answer = client.ask("status", {}, kAskPatience);
    if (answer.has_error()) return fail(failure_of(answer.error()));
    if (answer->contains("error")) {
      return fail(fmt::format("its mover is of another version: {}", text_of(*answer, "message")),
                  "End its clients and the mover, which holds " + places_.lock);
    }
    if (text_of(*answer, "path") != disk_.path) {
      return fail(fmt::format("its mover serves {}, not {}", text_of(*answer, "path"), disk_.path),
                  "End its clients and the mover, which holds " + places_.lock);
    }
    {
      const std::lock_guard lock(mutex_);
      status_.virtual_bytes = number_of(*answer, "virtual_bytes");
      status_.differencing = says(*answer, "differencing");
      status_.mover_pid = static_cast<std::int64_t>(number_of(*answer, "pid"));
      status_.adopted = adopts;
    }
    log_.info(fmt::format("{}: {} at {} by process {}", disk_.name,
                          adopts ? "found exported" : "exported", places_.clients,
                          number_of(*answer, "pid")));
    set_state(ExportStatus::State::kExported, {});
    return client;
  }

  /// Of a disk that another host owns, nothing is exported; that is no failure.
  bool may_write() {
    if (disk_.read_only || !setting_.may_write) return true;
    const auto may = setting_.may_write(disk_);
    if (may.has_value()) return true;
    const CommandFailure failure = failure_of(may.error());
    if (may.error().code != migration::make_error_code(migration::Errc::kNotOwner)) {
      fail(failure);
      return false;
    }
    const std::lock_guard lock(mutex_);
    if (status_.state != ExportStatus::State::kReleased) {
      log_.notice(fmt::format("{}: not exported: {}", disk_.name, failure.message));
    }
    status_.state = ExportStatus::State::kReleased;
    status_.mover_pid = 0;
    status_.problem = failure.message;
    status_.advice = failure.advice;
    changed_.notify_all();
    return false;
  }

  /// Starts a mover that holds `lock`, and waits until it is ready.
  bool start(const ProcessLock& lock) {
    const std::string program = NbdkitProcess::find_program("nbdkit");
    const std::string plugin = NbdkitProcess::find_plugin();
    if (program.empty() || plugin.empty()) {
      fail(program.empty() ? "the program nbdkit is not there"
                           : "nbdkit-vhdx-plugin.so is not there",
           "Install the package nbdkit, or VHDX Migrate again.");
      return false;
    }
    if (!may_write()) return false;
    // Whatever is wrong with the disk is said here, in full.
    if (auto tried = try_disk(); tried.has_error()) {
      fail(failure_of(tried.error()));
      return false;
    }
    auto ready = ReadyPipe::make();
    if (ready.has_error()) {
      fail(failure_of(ready.error()));
      return false;
    }
    ::unlink(places_.clients.c_str());
    ::unlink(places_.control.c_str());
    constexpr int kReadyFdOfChild = 4;
    const auto pid =
        start_detached({program, "--foreground", "--unix", places_.clients, plugin,
                        fmt::format("disk={}", disk_.path), fmt::format("name={}", disk_.name),
                        fmt::format("control-socket={}", places_.control),
                        fmt::format("state-folder={}", setting_.state_folder),
                        fmt::format("run-folder={}", setting_.run_folder),
                        fmt::format("ready-fd={}", kReadyFdOfChild),
                        fmt::format("readonly={}", disk_.read_only ? "true" : "false")},
                       {lock.fd(), ready->child_fd()});
    if (pid.has_error()) {
      fail(failure_of(pid.error()));
      return false;
    }
    if (!ready->wait(static_cast<int>(kStartPatience.count()))) {
      fail("nbdkit ended before clients could connect", "What it said stands in the log.");
      return false;
    }
    ::chmod(places_.clients.c_str(), kClientSocketMode);
    return true;
  }

  Result<void> try_disk() const {
    VHDXM_TRY(const auto disk,
              transfer::LiveDisk::open(disk_.path, std::make_shared<transfer::SharedGate>(),
                                       {.read_only = disk_.read_only}));
    return disk->close();
  }

  /// Until the mover ends, or this is to stop.
  void watch(MoverClient& client) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      watched_ = &client;
    }
    for (;;) {
      const auto line = client.next(std::nullopt);
      if (line.has_error() || !line->has_value()) break;
    }
    const std::lock_guard lock(mutex_);
    watched_ = nullptr;
  }

  const Setting setting_;
  const Places places_;
  const migration::RegisteredDisk disk_;
  ServiceLog& log_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Protected by mutex_:
  ExportStatus status_;
  bool stopping_ = false;
  bool end_expected_ = false;  ///< Somebody has asked the mover to end.
  MoverClient* watched_ = nullptr;

  std::thread thread_;
};

DiskExports::DiskExports(Setting setting, ServiceLog& log)
    : setting_(std::move(setting)), log_(log) {}

DiskExports::~DiskExports() {
  // All at once, then one by one.
  for (const auto& [name, watch] : watches_) watch->stop();
}

std::string DiskExports::socket_problem(const std::string& run_folder, const std::string& name) {
  const Places places = places_of(run_folder, name);
  const std::size_t longest = std::max(places.control.size(), places.clients.size());
  constexpr std::size_t kMost = sizeof(sockaddr_un{}.sun_path) - 1;
  if (longest <= kMost) return "";
  return fmt::format("the name '{}' is too long by {} characters: the disk's sockets are in {}",
                     name, longest - kMost, run_folder);
}

std::shared_ptr<DiskExports::Watch> DiskExports::find(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = watches_.find(name);
  return found == watches_.end() ? nullptr : found->second;
}

void DiskExports::begin(const migration::RegisteredDisk& disk) {
  const std::lock_guard lock(mutex_);
  if (watches_.contains(disk.name)) return;
  watches_.emplace(disk.name, std::make_shared<Watch>(setting_, disk, log_));
}

std::optional<ExportStatus> DiskExports::settled(const std::string& name) {
  const auto watch = find(name);
  if (watch == nullptr) return std::nullopt;
  return watch->settled();
}

std::optional<ExportStatus> DiskExports::status(const std::string& name) {
  const auto watch = find(name);
  if (watch == nullptr) return std::nullopt;
  return watch->status();
}

std::optional<DiskExports::Refusal> DiskExports::end(const std::string& name, bool force) {
  const auto watch = find(name);
  if (watch == nullptr) return std::nullopt;
  if (auto refusal = watch->end(force)) return refusal;
  const std::lock_guard lock(mutex_);
  watches_.erase(name);
  return std::nullopt;
}

std::optional<std::string> DiskExports::move(const std::string& name, const std::string& id) {
  const auto watch = find(name);
  if (watch == nullptr) return "the disk is not exported";
  return watch->move(id);
}

bool DiskExports::has_mover(const std::string& name) const {
  const auto lock = ProcessLock::take(places_of(setting_.run_folder, name).lock);
  return lock.has_value() && !lock->has_value();
}

}  // namespace vhdxm::tools
