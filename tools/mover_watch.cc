#include "tools/mover_watch.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <chrono>
#include <utility>

#include "migration/errc.h"
#include "tools/json_output.h"
#include "tools/nbdkit_process.h"

namespace vhdxm::tools {
namespace {

namespace json = boost::json;
using migration::RegisteredDisk;
using std::chrono::milliseconds;
using MoverClock = std::chrono::steady_clock;

/// A log that is replayed takes seconds at most; a mover that is not there by then is stuck.
constexpr milliseconds kStartPatience{30'000};
constexpr milliseconds kAskPatience{5'000};
/// Flushing what guests have written.
constexpr milliseconds kClosePatience{60'000};
constexpr milliseconds kFirstRetry{500};
constexpr milliseconds kLastRetry{30'000};
/// Nobody waits for these: a mover that is there without its service, or that is ending.
constexpr milliseconds kLookForMover{20};
/// Clients are those who may open the run folder; the group of its sockets is the folder's.
constexpr mode_t kClientSocketMode = S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP;

bool says(const json::object& answer, const char* name) {
  const auto* value = answer.if_contains(name);
  return value != nullptr && *value == json::value(true);
}

/// Of a mover's status.
std::vector<json::object> disks_in(const json::object& status) {
  std::vector<json::object> all;
  const json::value* const disks = status.if_contains("disks");
  if (disks == nullptr || !disks->is_array()) return all;
  for (const json::value& one : disks->as_array()) {
    if (one.is_object()) all.push_back(one.as_object());
  }
  return all;
}

/// Until the mover has gone, or somebody cancels it.
void read_to_end(MoverClient& client) {
  for (;;) {
    const auto line = client.next(std::nullopt);
    if (line.has_error() || !line->has_value()) return;
  }
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

std::string MoverWatch::key_of(const RegisteredDisk& disk) {
  return disk.group.empty() ? disk.name : mover_key_of_group(disk.group);
}

MoverWatch::MoverWatch(const Setting& setting, std::vector<RegisteredDisk> disks, Purpose purpose,
                       ServiceLog& log)
    : setting_(setting),
      key_(key_of(disks.front())),
      group_(!disks.front().group.empty()),
      places_(mover_places(setting.run_folder, key_)),
      log_(log),
      disks_(std::move(disks)),
      expects_(purpose == Purpose::kExpect) {
  thread_ = std::thread([this] { run(); });
}

MoverWatch::~MoverWatch() {
  stop();
  if (thread_.joinable()) thread_.join();
}

std::vector<RegisteredDisk> MoverWatch::disks() const {
  const std::lock_guard lock(mutex_);
  return disks_;
}

bool MoverWatch::has(const std::string& name) const {
  const auto all = disks();
  return std::any_of(all.begin(), all.end(), [&](const auto& one) { return one.name == name; });
}

bool MoverWatch::expects() const {
  const std::lock_guard lock(mutex_);
  return expects_;
}

std::string MoverWatch::names() const {
  std::string all;
  for (const RegisteredDisk& disk : disks()) all += (all.empty() ? "" : ", ") + disk.name;
  return all;
}

/// mutex_ is held.
ExportStatus MoverWatch::status_of(const std::string& name) const {
  ExportStatus status = status_;
  if (expects_ && taken_) {
    status.state = ExportStatus::State::kStarting;
  } else if (expects_) {
    status.state = ExportStatus::State::kReleased;
    status.problem =
        "it is arriving: until then the host that sends it owns it, and clients may "
        "connect and not write";
    status.advice = "`vhdx-migrate list` shows how far it is.";
  }
  status.socket = client_socket_path(setting_.run_folder, name);
  if (group_) status.export_name = name;
  if (const auto found = details_.find(name); found != details_.end()) {
    status.virtual_bytes = found->second.virtual_bytes;
    status.differencing = found->second.differencing;
  }
  return status;
}

ExportStatus MoverWatch::settled(const std::string& name) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(
        lock, [&] { return stopping_ || status_of(name).state != ExportStatus::State::kStarting; });
  }
  return status(name);
}

ExportStatus MoverWatch::status(const std::string& name) {
  ExportStatus now;
  {
    const std::lock_guard lock(mutex_);
    now = status_of(name);
  }
  if (now.state != ExportStatus::State::kExported) return now;
  const auto answer = ask_mover(places_.control, "status", {}, kAskPatience);
  if (answer.has_error()) return now;
  for (const json::object& disk : disks_in(*answer)) {
    if (text_of(disk, "name") == name) now.clients = number_of(disk, "clients");
  }
  if (says(*answer, "fenced")) {
    now.state = ExportStatus::State::kReleased;
    now.problem = says(*answer, "forwards")
                      ? "another host owns the disk, or will; clients that are connected are "
                        "served by it"
                      : "another host owns the disk, or will; clients that are connected may read";
    now.advice = "Use it at the host that owns it; `vhdx-migrate move` there brings it back.";
  }
  return now;
}

std::optional<std::string> MoverWatch::move(const std::string& id) {
  auto client = MoverClient::connect(places_.control);
  if (client.has_error()) return describe(client.error());
  json::object wish;
  wish["id"] = id;
  const auto answer = client->ask("move", wish, kAskPatience);
  if (answer.has_error()) return describe(answer.error());
  if (answer->contains("error")) return text_of(*answer, "message");
  const auto deadline = MoverClock::now() + kStartPatience;
  while (MoverClock::now() < deadline) {
    const auto event =
        client->next(std::chrono::duration_cast<milliseconds>(deadline - MoverClock::now()));
    if (event.has_error()) return describe(event.error());
    if (!event->has_value()) return "its mover ended";
    if (text_of(**event, "event") != "move") continue;
    if (says(**event, "begun")) return std::nullopt;
    return "its mover could not begin: what it said stands in the service's log";
  }
  return "its mover does not say that it has begun";
}

Result<transfer::ForwardDoor> MoverWatch::forward(const std::string& name, const std::string& job) {
  const auto refused = [&](transfer::Errc errc, const std::string& why) {
    return Error{.code = errc, .where = "forwarding", .subject = name + ": " + why};
  };
  json::object wish;
  wish["name"] = name;
  wish["job"] = job;
  const auto answer = ask_mover(places_.control, "forward", wish, kAskPatience);
  if (answer.has_error()) return refused(transfer::Errc::kBusy, describe(answer.error()));
  if (const std::string error = text_of(*answer, "error"); !error.empty()) {
    return refused(error == "not_now" ? transfer::Errc::kBusy : transfer::Errc::kRefused,
                   text_of(*answer, "message"));
  }
  const auto socket = connect_local(places_.clients);
  if (socket.has_error()) return refused(transfer::Errc::kBusy, describe(socket.error()));
  return transfer::ForwardDoor{.socket = *socket,
                               .ready = {.export_name = text_of(*answer, "export"),
                                         .instance = number_of(*answer, "instance")}};
}

std::optional<CommandFailure> MoverWatch::add(const RegisteredDisk& disk) {
  const ExportStatus now = settled(disks().front().name);
  const auto refused = [&](std::string message, std::string advice) {
    return CommandFailure{.message = std::move(message),
                          .advice = std::move(advice),
                          .exit = ExitCode::kFailed,
                          .ownership = {}};
  };
  if (now.state != ExportStatus::State::kExported) {
    return refused(
        fmt::format("the disks of group {} are not exported: {}", disk.group, now.problem),
        "See to those first: `vhdx-migrate disk list` shows them.");
  }
  if (!disk.read_only && setting_.may_write) {
    const auto may = setting_.may_write({disk.path});
    if (may.has_error()) return failure_of(may.error());
  }
  auto client = MoverClient::connect(places_.control);
  if (client.has_error()) return failure_of(client.error());
  const auto answer = client->ask("open", wish_of({disk}), kStartPatience);
  if (answer.has_error()) return failure_of(answer.error());
  if (answer->contains("error")) {
    return refused(text_of(*answer, "message"), text_of(*answer, "advice"));
  }
  {
    const std::lock_guard lock(mutex_);
    disks_.push_back(disk);
  }
  note_exported(*answer, now.adopted);
  return std::nullopt;
}

std::optional<MoverWatch::Refusal> MoverWatch::close(const std::string& name, bool force) {
  auto client = MoverClient::connect(places_.control);
  if (client.has_error()) {
    if (is_alive()) return Refusal{.problem = "its mover lives, and does not answer"};
  } else {
    json::object wish;
    wish["name"] = name;
    wish["force"] = force;
    const auto answer = client->ask("close", wish, kClosePatience);
    if (answer.has_error()) return Refusal{.problem = describe(answer.error())};
    const std::string error = text_of(*answer, "error");
    if (error == "in_use") {
      return Refusal{.in_use = true, .clients = number_of(*answer, "clients"), .problem = {}};
    }
    // One that it could not open is not there.
    if (!error.empty() && error != "not_there") {
      return Refusal{.problem = text_of(*answer, "message")};
    }
    if (error.empty() && !says(*answer, "well")) {
      log_.error(
          fmt::format("{}: could not be closed well; nothing that was flushed is lost: the "
                      "next one who opens it replays its log",
                      name));
    }
  }
  const std::lock_guard lock(mutex_);
  std::erase_if(disks_, [&](const auto& one) { return one.name == name; });
  details_.erase(name);
  return std::nullopt;
}

/// The mover's lock is taken for a moment, too, to find out that there is to be none; and one that
/// is being started does not listen yet.
Result<MoverClient> MoverWatch::connect_patiently() const {
  const auto patience = MoverClock::now() + kAskPatience;
  for (;;) {
    auto client = MoverClient::connect(places_.control);
    if (client.has_value() || !is_alive() || MoverClock::now() > patience) return client;
    std::this_thread::sleep_for(kLookForMover);
  }
}

std::optional<MoverWatch::Refusal> MoverWatch::end(bool force) {
  if (expects()) return Refusal{.problem = "it is arriving"};
  auto client = connect_patiently();
  if (client.has_error()) return end_without_mover();
  json::object wish;
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
  const auto deadline = MoverClock::now() + kClosePatience;
  // The mover ends after it has closed the disks; then its lock is free.
  while (is_alive() && MoverClock::now() < deadline) std::this_thread::sleep_for(kLookForMover);
  if (is_alive()) {
    expect_end(false);
    return Refusal{.problem = "its mover does not end: it still closes the disk, or is stuck"};
  }
  const bool well = closed.has_value() && closed->has_value() && says(**closed, "well");
  if (well) {
    log_.info(fmt::format("{}: closed", names()));
  } else {
    log_.error(
        fmt::format("{}: its mover ended without closing the disk; nothing that was "
                    "flushed is lost: the next one who opens it replays its log",
                    names()));
  }
  stop();
  return std::nullopt;
}

void MoverWatch::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  if (watched_ != nullptr) watched_->cancel();
  changed_.notify_all();
}

void MoverWatch::taken(const std::string& job) {
  const std::lock_guard lock(mutex_);
  taken_ = true;
  taken_by_ = job;
  if (watched_ != nullptr) watched_->cancel();  // it waits for this
  changed_.notify_all();
}

void MoverWatch::await_open(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, patience, [this] { return open_ || stopping_; });
}

void MoverWatch::confirm() {
  const std::lock_guard lock(mutex_);
  if (!taken_ && watched_ != nullptr) watched_->cancel();
  // It is tried again at once.
  if (status_.state != ExportStatus::State::kExported) {
    status_.state = ExportStatus::State::kStarting;
  }
  expects_ = false;
  taken_ = false;
  changed_.notify_all();
}

std::optional<MoverWatch::Refusal> MoverWatch::end_without_mover() {
  if (is_alive()) return Refusal{.problem = "its mover lives, and does not answer"};
  stop();
  return std::nullopt;
}

void MoverWatch::expect_end(bool expected) {
  const std::lock_guard lock(mutex_);
  end_expected_ = expected;
  changed_.notify_all();
}

bool MoverWatch::is_alive() const {
  const auto lock = ProcessLock::take(places_.lock);
  return lock.has_value() && !lock->has_value();
}

void MoverWatch::run() {
  milliseconds retry = kFirstRetry;
  while (!is_stopping()) {
    const auto begun = MoverClock::now();
    if (auto client = find_or_start()) {
      watch(*client);
      if (end_was_expected()) continue;
      log_.warning(fmt::format("{}: its mover ended by itself; starting it again", names()));
      set_state(ExportStatus::State::kStarting, {});
    }
    if (MoverClock::now() - begun > kLastRetry) retry = kFirstRetry;
    std::unique_lock lock(mutex_);
    const bool was_taken = taken_;
    // What this host owns since a moment ago is waited for.
    changed_.wait_for(lock, was_taken ? kLookForMover : retry,
                      [&] { return stopping_ || taken_ != was_taken; });
    retry = std::min(retry * 2, kLastRetry);
  }
}

/// Waits until it is known whether an end that was asked for has come.
bool MoverWatch::end_was_expected() {
  std::unique_lock lock(mutex_);
  const bool expected = end_expected_;
  changed_.wait(lock, [&] { return stopping_ || !end_expected_; });
  return stopping_ || expected;
}

bool MoverWatch::is_stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void MoverWatch::set_state(ExportStatus::State state, const CommandFailure& failure) {
  const std::string all = names();
  const std::lock_guard lock(mutex_);
  // The same failure again is no news.
  if (state == ExportStatus::State::kFailed && failure.message != status_.problem) {
    log_.error(fmt::format("{}: cannot be exported: {}", all, failure.message));
  }
  status_.state = state;
  status_.problem = failure.message;
  status_.advice = failure.advice;
  changed_.notify_all();
}

void MoverWatch::fail(const CommandFailure& failure) {
  set_state(ExportStatus::State::kFailed, failure);
}

void MoverWatch::fail(std::string message, std::string advice) {
  fail(CommandFailure{.message = std::move(message),
                      .advice = std::move(advice),
                      .exit = ExitCode::kFailed,
                      .ownership = {}});
}

/// A connection to the mover, which has the disks open.
std::optional<MoverClient> MoverWatch::find_or_start() {
  const auto deadline = MoverClock::now() + kStartPatience;
  while (!is_stopping()) {
    auto lock = ProcessLock::take(places_.lock);
    if (lock.has_error()) {
      fail(failure_of(lock.error()));
      return std::nullopt;
    }
    if (lock->has_value()) return start(**lock);
    // One whose service was killed before it gave it a disk ends by itself; one that is being
    // started does not listen yet.
    bool goes_away = true;
    if (auto client = MoverClient::connect(places_.control); client.has_value()) {
      if (auto adopted = adopt(std::move(*client), goes_away)) return adopted;
      if (!goes_away) return std::nullopt;
    }
    if (MoverClock::now() > deadline) break;
    std::this_thread::sleep_for(kLookForMover);
  }
  fail("its mover lives, and does not listen", "End it: it holds " + places_.lock);
  return std::nullopt;
}

/// Nothing: it has no disk, or this has failed.
std::optional<MoverClient> MoverWatch::adopt(MoverClient client, bool& goes_away) {
  const auto status = client.ask("status", {}, kAskPatience);
  if (status.has_error()) return std::nullopt;
  const std::string way_out = "End its clients and the mover, which holds " + places_.lock;
  if (status->contains("error")) {
    goes_away = false;
    fail(fmt::format("its mover is of another version: {}", text_of(*status, "message")), way_out);
    return std::nullopt;
  }
  const auto held = disks_in(*status);
  if (held.empty() || says(*status, "ending")) return std::nullopt;
  goes_away = false;
  const auto wanted = disks();
  if (!group_ && text_of(held.front(), "path") != wanted.front().path) {
    fail(fmt::format("its mover serves {}, not {}", text_of(held.front(), "path"),
                     wanted.front().path),
         way_out);
    return std::nullopt;
  }
  // A service that was killed while a disk was added, or removed.
  std::vector<RegisteredDisk> missing;
  for (const RegisteredDisk& disk : wanted) {
    const bool there = std::any_of(held.begin(), held.end(), [&](const json::object& one) {
      return text_of(one, "name") == disk.name && text_of(one, "path") == disk.path;
    });
    if (!there) missing.push_back(disk);
  }
  if (!close_strangers(client, *status)) return std::nullopt;
  if (!missing.empty() && !open_disks(client, missing)) return std::nullopt;
  const auto now = client.ask("status", {}, kAskPatience);
  if (now.has_error()) return std::nullopt;
  note_exported(*now, /*adopted=*/true);
  return client;
}

/// False, and the state says so: it has disks that are none of its group here.
bool MoverWatch::close_strangers(MoverClient& client, const Answer& status) {
  const auto wanted = disks();
  for (const json::object& one : disks_in(status)) {
    const std::string name = text_of(one, "name");
    const bool known = std::any_of(wanted.begin(), wanted.end(), [&](const auto& disk) {
      return disk.name == name && disk.path == text_of(one, "path");
    });
    if (known) continue;
    json::object wish;
    wish["name"] = name;
    const auto closed = client.ask("close", wish, kClosePatience);
    if (closed.has_value() && !closed->contains("error")) continue;
    fail(fmt::format("its mover serves {}, too, which is not registered", text_of(one, "path")),
         "Disconnect its clients, or register it again in the group.");
    return false;
  }
  return true;
}

/// A mover that holds `lock`, and has opened the disks.
std::optional<MoverClient> MoverWatch::start(const ProcessLock& lock) {
  if (!expects() && !may_write()) return std::nullopt;
  auto life = LifeLine::make();
  if (life.has_error()) {
    fail(failure_of(life.error()));
    return std::nullopt;
  }
  if (!launch(lock, *life)) return std::nullopt;
  auto client = MoverClient::connect(places_.control);
  if (client.has_error()) {
    fail(failure_of(client.error()));
    return std::nullopt;
  }
  if (expects() && (!expect_disks(*client) || !wait_until_taken())) return std::nullopt;
  if (!open_disks(*client, disks())) return std::nullopt;
  {
    const std::lock_guard open(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // From here on it outlives the service.
  const auto status = client->ask("status", {}, kAskPatience);
  if (status.has_error() || disks_in(*status).empty()) {
    fail("its mover ended when it had opened the disk", "What it said stands in the log.");
    return std::nullopt;
  }
  note_exported(*status, /*adopted=*/false);
  return std::move(*client);
}

/// Clients may connect from here on.
bool MoverWatch::expect_disks(MoverClient& client) {
  const auto answer = client.ask("expect", wish_of(disks()), kAskPatience);
  if (answer.has_value() && !answer->contains("error")) return true;
  fail(answer.has_error() ? failure_of(answer.error()).message : text_of(*answer, "message"), "");
  return false;
}

/// False: they are not this host's, and will not be; or the mover has ended.
bool MoverWatch::wait_until_taken() {
  auto watcher = MoverClient::connect(places_.control);
  if (watcher.has_error()) return false;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    if (taken_ || !expects_) return true;
    watched_ = &*watcher;
  }
  read_to_end(*watcher);
  const std::lock_guard lock(mutex_);
  watched_ = nullptr;
  return !stopping_ && (taken_ || !expects_);
}

/// Starts nbdkit, and waits until it listens. It has no disk yet.
bool MoverWatch::launch(const ProcessLock& lock, LifeLine& life) {
  const std::string program = NbdkitProcess::find_program("nbdkit");
  const std::string plugin = NbdkitProcess::find_plugin();
  if (program.empty() || plugin.empty()) {
    fail(program.empty() ? "the program nbdkit is not there" : "nbdkit-vhdx-plugin.so is not there",
         "Install the package nbdkit, or VHDX Migrate again.");
    return false;
  }
  auto ready = ReadyPipe::make();
  if (ready.has_error()) {
    fail(failure_of(ready.error()));
    return false;
  }
  for (const std::string* path : {&places_.clients, &places_.waiting, &places_.control}) {
    ::unlink(path->c_str());
  }
  for (const RegisteredDisk& disk : disks()) {
    unlink_client_socket(setting_.run_folder, disk.name);
  }
  constexpr int kReadyFdOfChild = 4;
  constexpr int kLifeFdOfChild = 5;
  const auto pid = start_detached(
      {program, "--foreground", "--unix", places_.waiting, plugin,
       fmt::format("control-socket={}", places_.control),
       fmt::format("group={}", group_ ? "true" : "false"),
       fmt::format("waits-at={}", places_.waiting), fmt::format("serves-at={}", places_.clients),
       fmt::format("state-folder={}", setting_.state_folder),
       fmt::format("run-folder={}", setting_.run_folder),
       fmt::format("ready-fd={}", kReadyFdOfChild), fmt::format("life-fd={}", kLifeFdOfChild)},
      {lock.fd(), ready->child_fd(), life.child_fd()});
  life.started();
  if (pid.has_error()) {
    fail(failure_of(pid.error()));
    return false;
  }
  if (!ready->wait(static_cast<int>(kStartPatience.count()))) {
    fail("nbdkit ended before clients could connect", "What it said stands in the log.");
    return false;
  }
  ::chmod(places_.waiting.c_str(), kClientSocketMode);
  return true;
}

bool MoverWatch::open_disks(MoverClient& client, const std::vector<RegisteredDisk>& disks) {
  json::object wish = wish_of(disks);
  {
    const std::lock_guard lock(mutex_);
    wish["taken"] = taken_;
    // To one mover only: clients of a second one may have written to the first.
    if (taken_) wish["job"] = std::exchange(taken_by_, {});
  }
  const auto answer = client.ask("open", wish, kStartPatience);
  if (answer.has_error()) {
    fail(failure_of(answer.error()));
    return false;
  }
  if (!answer->contains("error")) return true;
  fail(text_of(*answer, "message"), text_of(*answer, "advice"));
  return false;
}

MoverWatch::Answer MoverWatch::wish_of(const std::vector<RegisteredDisk>& disks) {
  json::array list;
  for (const RegisteredDisk& disk : disks) {
    json::object one;
    one["name"] = disk.name;
    one["path"] = json_text(disk.path);
    one["read_only"] = disk.read_only;
    list.push_back(std::move(one));
  }
  json::object wish;
  wish["disks"] = std::move(list);
  return wish;
}

void MoverWatch::note_exported(const Answer& status, bool adopted) {
  {
    const std::lock_guard lock(mutex_);
    for (const json::object& one : disks_in(status)) {
      details_[text_of(one, "name")] = {.virtual_bytes = number_of(one, "virtual_bytes"),
                                        .differencing = says(one, "differencing")};
    }
    status_.mover_pid = static_cast<std::int64_t>(number_of(status, "pid"));
    status_.adopted = adopted;
  }
  log_.info(fmt::format("{}: {} at {} by process {}", names(),
                        adopted ? "found exported" : "exported", places_.clients,
                        number_of(status, "pid")));
  set_state(ExportStatus::State::kExported, {});
}

/// Of a disk that another host owns, nothing is exported; that is no failure.
bool MoverWatch::may_write() {
  std::vector<std::string> paths;
  for (const RegisteredDisk& disk : disks()) {
    if (!disk.read_only) paths.push_back(disk.path);
  }
  if (paths.empty() || !setting_.may_write) return true;
  const auto may = setting_.may_write(paths);
  if (may.has_value()) return true;
  if (may.error().code == migration::make_error_code(migration::Errc::kNotOwner)) {
    note_released(failure_of(may.error()));
  } else {
    fail(failure_of(may.error()));
  }
  return false;
}

void MoverWatch::note_released(const CommandFailure& failure) {
  const std::string all = names();
  const std::lock_guard lock(mutex_);
  if (status_.state != ExportStatus::State::kReleased) {
    log_.notice(fmt::format("{}: not exported: {}", all, failure.message));
  }
  status_.state = ExportStatus::State::kReleased;
  status_.mover_pid = 0;
  status_.problem = failure.message;
  status_.advice = failure.advice;
  changed_.notify_all();
}

/// Until the mover ends, or this is to stop.
void MoverWatch::watch(MoverClient& client) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    watched_ = &client;
  }
  read_to_end(client);
  const std::lock_guard lock(mutex_);
  watched_ = nullptr;
}

}  // namespace vhdxm::tools
