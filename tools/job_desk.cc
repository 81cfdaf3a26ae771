#include "tools/job_desk.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "migration/disk_registry.h"
#include "migration/handover_text.h"
#include "tools/detached_process.h"
#include "tools/job_files.h"
#include "tools/json_output.h"
#include "tools/mover_client.h"

namespace vhdxm::tools {
namespace {

using migration::ServiceJob;
using migration::ServiceJobStore;
using State = ServiceJob::State;

constexpr std::chrono::milliseconds kJobAskPatience{5'000};
constexpr std::chrono::milliseconds kLookForJob{20};

std::string time_now() {
  return rfc3339(std::chrono::system_clock::now());
}

CommandFailure no_such_job(const std::string& id) {
  return usage_failure(fmt::format("there is no job '{}'", id),
                       "`vhdx-migrate list` shows all of this host.");
}

CommandFailure wrong_state(const ServiceJob& job, const char* wish) {
  return {
      .message = fmt::format("job {} is {}: it cannot be {}", job.id, to_string(job.state), wish),
      .advice = fmt::format("`vhdx-migrate status {}` shows how it is.", job.id),
      .exit = ExitCode::kFailed,
      .ownership = {}};
}

std::string who_owns(const ServiceJob& job) {
  std::vector<std::string> names;
  for (const auto& disk : job.disks) {
    names.push_back(std::filesystem::path(disk.path).filename());
  }
  return migration::source_owns_sentence(names);
}

}  // namespace

/// The thread that listens to one job.
class JobDesk::Watch {
 public:
  Watch(std::string socket, std::string lock,
        std::function<void(const boost::json::object&)> on_progress, std::function<void()> on_end)
      : socket_(std::move(socket)),
        lock_(std::move(lock)),
        on_progress_(std::move(on_progress)),
        on_end_(std::move(on_end)),
        thread_([this] { run(); }) {}
  ~Watch() {
    stop();
    thread_.join();
  }

  void stop() {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (client_) client_->cancel();
  }

  bool is_over() const { return over_; }

 private:
  void run() {
    listen();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    // Its record is written before its lock is free.
    while (is_alive()) {
      std::this_thread::sleep_for(kLookForJob);
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    on_end_();
    over_ = true;
  }

  bool is_alive() const {
    const auto lock = ProcessLock::take(lock_);
    return lock.has_value() && !lock->has_value();
  }

  void listen() {
    auto connected = MoverClient::connect(socket_);
    if (connected.has_error()) return;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      client_.emplace(std::move(*connected));
    }
    const auto answer = client_->ask("subscribe", {}, kJobAskPatience);
    if (answer.has_error()) return;
    tell_progress(*answer);
    for (;;) {
      const auto event = client_->next(std::nullopt);
      if (event.has_error() || !event->has_value()) return;
      tell_progress(**event);
    }
  }

  void tell_progress(const boost::json::object& event) const {
    const auto* progress = event.if_contains("progress");
    if (progress != nullptr && progress->is_object()) on_progress_(progress->as_object());
  }

  const std::string socket_;
  const std::string lock_;
  const std::function<void(const boost::json::object&)> on_progress_;
  const std::function<void()> on_end_;
  std::mutex mutex_;
  std::optional<MoverClient> client_;  ///< Made under mutex_; read by the thread.
  bool stopping_ = false;              ///< Protected by mutex_.
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

struct JobDesk::Entry {
  ServiceJob job;
  boost::json::object progress = {};
  std::uint64_t revision = 1;
  std::unique_ptr<Watch> watch;  ///< Of one that runs, or ran.
};

JobDesk::Outcome<std::unique_ptr<JobDesk>> JobDesk::open(Places places, DiskHooks hooks,
                                                         ServiceLog& log) {
  VHDXM_COMMAND_TRY(auto store, ServiceJobStore::open(places.state_folder + "/jobs"));
  VHDXM_COMMAND_TRY(auto jobs, store->list());
  std::unique_ptr<JobDesk> desk(
      new JobDesk(std::move(places), std::move(hooks), std::move(store), log));
  for (ServiceJob& job : jobs) {
    auto entry = std::make_unique<Entry>();
    entry->job = std::move(job);
    const auto lock = ProcessLock::take(job_lock_path(desk->places_.run_folder, entry->job.id));
    const bool lives = lock.has_value() && !lock->has_value();
    // One that was killed with its service has said nothing.
    if (entry->job.state == State::kRunning && !lives) {
      desk->interrupt(entry->job);
      VHDXM_COMMAND_TRY_VOID(desk->store_->write(entry->job));
    }
    desk->entries_.emplace(entry->job.id, std::move(entry));
  }
  return desk;
}

JobDesk::JobDesk(Places places, DiskHooks hooks, std::unique_ptr<ServiceJobStore> store,
                 ServiceLog& log)
    : places_(std::move(places)), hooks_(std::move(hooks)), store_(std::move(store)), log_(log) {}

JobDesk::~JobDesk() {
  std::map<std::string, std::unique_ptr<Entry>> entries;
  {
    const std::lock_guard pump_lock(pump_mutex_);
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& [id, entry] : entries_) {
      if (entry->watch) entry->watch->stop();
    }
  }
  // Their threads may be on the way to ended(), which takes the locks and finds nothing to do.
  std::vector<std::unique_ptr<Watch>> watches;
  for (const auto& [id, entry] : entries_) watches.push_back(std::move(entry->watch));
  watches.clear();
  retired_.clear();
}

void JobDesk::start() {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
      if (entry->job.state != State::kRunning) continue;
      log_.info(fmt::format("job {}: found running", id));
      listen_to(*entry);
    }
  }
  pump();
}

std::optional<std::string> JobDesk::job_moving(const std::string& disk) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, entry] : entries_) {
    if (entry->job.has_disk(disk) && entry->job.state == State::kRunning) return id;
  }
  return std::nullopt;
}

JobView JobDesk::view_of(const Entry& entry) const {
  return {.job = entry.job, .progress = entry.progress, .revision = entry.revision};
}

JobDesk::Outcome<JobView> JobDesk::change(Entry& entry, const ServiceJob& job) {
  VHDXM_COMMAND_TRY_VOID(store_->write(job));
  entry.job = job;
  ++entry.revision;
  return view_of(entry);
}

JobDesk::Outcome<JobView> JobDesk::submit(ServiceJob job) {
  {
    const std::lock_guard lock(mutex_);
    if (job.id.empty()) {
      const std::string name = std::filesystem::path(job.disks.front().path).stem();
      do {
        job.id = migration::new_job_id(migration::is_disk_name(name) ? name : "job");
      } while (entries_.contains(job.id));
    }
    if (const auto found = entries_.find(job.id); found != entries_.end()) {
      if (found->second->job.asks_the_same(job)) return view_of(*found->second);
      return usage_failure(fmt::format("job {} is another one: it asks for something else", job.id),
                           "Choose another --id, or remove that job: vhdx-migrate cleanup.");
    }
    for (const auto& [id, entry] : entries_) {
      if (entry->job.is_over()) continue;
      const ServiceJob& other = entry->job;
      const auto both =
          std::find_if(job.disks.begin(), job.disks.end(),
                       [&other](const auto& disk) { return other.has_path(disk.path); });
      if (both == job.disks.end()) continue;
      return CommandFailure{
          .message = fmt::format("job {} has {} in hand and is {}", id, both->path,
                                 to_string(entry->job.state)),
          .advice = entry->job.state == State::kBlocked
                        ? fmt::format("Resolve that one: vhdx-migrate resolve {}", id)
                        : fmt::format("Resume or cancel that one: vhdx-migrate resume {}", id),
          .exit = ExitCode::kFailed,
          .ownership = {}};
    }
    job.state = State::kQueued;
    job.created = time_now();
    VHDXM_COMMAND_TRY_VOID(store_->write(job));
    auto entry = std::make_unique<Entry>();
    entry->job = job;
    entries_.emplace(job.id, std::move(entry));
  }
  log_.notice(fmt::format("job {}: {} to {} is asked for", job.id, job.disk_names(), job.host));
  pump();
  return found_now(job.id);
}

std::optional<JobView> JobDesk::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return std::nullopt;
  return view_of(*found->second);
}

std::vector<JobView> JobDesk::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<JobView> all;
  for (const auto& [id, entry] : entries_) all.push_back(view_of(*entry));
  std::stable_sort(all.begin(), all.end(), [](const JobView& a, const JobView& b) {
    return a.job.created < b.job.created;
  });
  return all;
}

/// Starts what waits, as long as there is room.
void JobDesk::pump() {
  const std::lock_guard pump_lock(pump_mutex_);
  for (;;) {
    std::string id;
    ServiceJob asked;
    {
      const std::lock_guard lock(mutex_);
      const Entry* next = nullptr;
      unsigned running = 0;
      for (const auto& [name, entry] : entries_) {
        if (entry->job.state == State::kRunning) ++running;
        if (entry->job.state != State::kQueued) continue;
        if (next == nullptr || entry->job.created < next->job.created) next = entry.get();
      }
      if (stopping_ || next == nullptr || running >= places_.jobs_max) return;
      id = next->job.id;
      asked = next->job;
    }
    const auto refused = hooks_.cannot_move(asked);
    const std::lock_guard lock(mutex_);
    // It may have been cancelled, and forgotten, meanwhile.
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second->job.state != State::kQueued) continue;
    if (refused) {
      fail(*found->second, *refused);
    } else {
      begin(*found->second);
    }
  }
}

void JobDesk::fail(Entry& entry, const CommandFailure& failure) {
  ServiceJob job = entry.job;
  job.state = State::kFailed;
  job.ended = time_now();
  job.exit = static_cast<std::int64_t>(failure.exit);
  job.message = failure.message;
  job.advice = failure.advice;
  job.ownership = failure.ownership.empty() ? who_owns(job) : failure.ownership;
  log_.error(fmt::format("job {}: {}", job.id, failure.message));
  if (const auto changed = change(entry, job); changed.has_error()) {
    log_.error(fmt::format("job {}: {}", job.id, changed.error().message));
    entry.job = job;  // at least in memory: or it would be tried for ever
  }
}

/// Has the mover begin a job, or listens to one that runs.
void JobDesk::begin(Entry& entry) {
  const std::string id = entry.job.id;
  auto lock = ProcessLock::take(job_lock_path(places_.run_folder, id));
  if (lock.has_error()) return fail(entry, failure_of(lock.error()));
  if (!lock->has_value()) return listen_to(entry);
  ServiceJob job = entry.job;
  job.started = time_now();
  job.ended.clear();
  job.message.clear();
  job.advice.clear();
  job.exit = 0;
  if (const auto changed = change(entry, job); changed.has_error()) {
    return fail(entry, changed.error());
  }
  lock->reset();  // the mover takes it
  const auto problem = hooks_.move(entry.job);
  if (auto record = store_->read(id); record.has_value()) entry.job = std::move(*record);
  ++entry.revision;
  if (entry.job.state == State::kFailed) {
    log_.error(fmt::format("job {}: {}", id, entry.job.message));
    return;
  }
  if (problem) {
    return fail(entry, {.message = fmt::format("{}: {}", entry.job.disk_names(), *problem),
                        .advice = "Look into the service's log, and resume the job.",
                        .exit = ExitCode::kFailed,
                        .ownership = {}});
  }
  listen_to(entry);
}

/// Of a job whose mover has ended without saying how.
void JobDesk::interrupt(ServiceJob& job) const {
  job.state = State::kInterrupted;
  job.ended = time_now();
  job.message = "its disk's mover ended without saying how";
  job.advice = fmt::format("`vhdx-migrate resume {}` goes on with it.", job.id);
  job.ownership = who_owns(job);
  hooks_.judge(job);
}

void JobDesk::listen_to(Entry& entry) {
  const std::string id = entry.job.id;
  entry.progress = {};
  // A thread that may be the one which calls this is not waited for here.
  std::erase_if(retired_, [](const auto& watch) { return watch->is_over(); });
  if (entry.watch) retired_.push_back(std::move(entry.watch));
  entry.watch = std::make_unique<Watch>(
      job_socket_path(places_.run_folder, id), job_lock_path(places_.run_folder, id),
      [this, id](const boost::json::object& progress) {
        const std::lock_guard guard(mutex_);
        Entry& one = *entries_.at(id);
        one.progress = progress;
        ++one.revision;
      },
      [this, id] { ended(id); });
}

/// A job has ended: its record says how.
void JobDesk::ended(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    Entry& entry = *entries_.at(id);
    ServiceJob job = entry.job;
    if (auto record = store_->read(id); record.has_value()) {
      job = std::move(*record);
    } else {
      log_.error(fmt::format("job {}: {}", id, describe(record.error())));
    }
    // Then the records of ownership say how it ended, and only those.
    if (job.state == State::kRunning) {
      interrupt(job);
      if (const auto changed = change(entry, job); changed.has_error()) {
        log_.error(fmt::format("job {}: {}", id, changed.error().message));
      }
    }
    entry.job = std::move(job);
    ++entry.revision;
    log_.notice(fmt::format("job {}: {}{}{}", id, to_string(entry.job.state),
                            entry.job.message.empty() ? "" : ": ", entry.job.message));
    if (entry.job.state == State::kBlocked) hooks_.blocked(entry.job);
  }
  pump();
}

JobDesk::Outcome<JobView> JobDesk::ask_mover_of(const std::string& id, const char* op,
                                                boost::json::object fields) {
  // Not under the lock: it answers at once, but it is another process.
  const auto answer =
      ask_mover(job_socket_path(places_.run_folder, id), op, std::move(fields), kJobAskPatience);
  if (answer.has_error()) return failure_of(answer.error());
  if (answer->contains("error")) {
    return CommandFailure{.message = fmt::format("job {}: {}", id, text_of(*answer, "message")),
                          .advice = fmt::format("`vhdx-migrate status {}` shows how it is.", id),
                          .exit = ExitCode::kFailed,
                          .ownership = {}};
  }
  return found_now(id);
}

JobDesk::Outcome<JobView> JobDesk::found_now(const std::string& id) const {
  if (auto view = find(id)) return std::move(*view);
  return no_such_job(id);
}

JobDesk::Outcome<JobView> JobDesk::pause(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return no_such_job(id);
    ServiceJob job = found->second->job;
    if (job.state == State::kPaused) return view_of(*found->second);
    if (job.state == State::kQueued) {
      job.state = State::kPaused;
      return change(*found->second, job);
    }
    if (job.state != State::kRunning) return wrong_state(job, "paused");
  }
  return ask_mover_of(id, "pause");
}

JobDesk::Outcome<JobView> JobDesk::cancel(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return no_such_job(id);
    ServiceJob job = found->second->job;
    if (job.state == State::kCancelled) return view_of(*found->second);
    if (job.is_over() || job.state == State::kBlocked) return wrong_state(job, "cancelled");
    if (job.state != State::kRunning) {
      job.state = State::kCancelled;
      job.ended = time_now();
      job.exit = static_cast<std::int64_t>(ExitCode::kCancelled);
      job.message = "cancelled";
      job.ownership = who_owns(job);
      return change(*found->second, job);
    }
  }
  return ask_mover_of(id, "cancel");
}

JobDesk::Outcome<JobView> JobDesk::resume(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return no_such_job(id);
    ServiceJob job = found->second->job;
    if (job.state == State::kQueued || job.state == State::kRunning) {
      return view_of(*found->second);
    }
    if (job.state == State::kDone || job.state == State::kCancelled ||
        job.state == State::kBlocked) {
      return wrong_state(job, "resumed");
    }
    job.state = State::kQueued;
    if (const auto changed = change(*found->second, job); changed.has_error()) {
      return changed.error();
    }
  }
  pump();
  return found_now(id);
}

JobDesk::Outcome<JobView> JobDesk::cut_over(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return no_such_job(id);
    ServiceJob job = found->second->job;
    if (job.is_over() || job.state == State::kBlocked) return wrong_state(job, "cut over");
    if (job.state != State::kRunning) {
      job.cutover = "auto";  // when it runs again
      return change(*found->second, job);
    }
  }
  return ask_mover_of(id, "cutover");
}

JobDesk::Outcome<JobView> JobDesk::set(const std::string& id, const Wishes& wishes) {
  boost::json::object fields;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return no_such_job(id);
    ServiceJob job = found->second->job;
    if (job.is_over() || job.state == State::kBlocked) return wrong_state(job, "set");
    if (wishes.limit) fields["limit"] = job.limit = *wishes.limit;
    if (wishes.max_pause_ms) fields["max_pause_ms"] = job.max_pause_ms = *wishes.max_pause_ms;
    if (wishes.mode) fields["mode"] = job.mode = *wishes.mode;
    if (job.state != State::kRunning) return change(*found->second, job);
  }
  auto view = ask_mover_of(id, "set", std::move(fields));
  if (view.has_error()) return view;
  // The mover writes the record at its end, and what was set into it.
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return view;
  Entry& entry = *found->second;
  if (entry.job.state == State::kRunning) {
    if (wishes.limit) entry.job.limit = *wishes.limit;
    if (wishes.max_pause_ms) entry.job.max_pause_ms = *wishes.max_pause_ms;
    if (wishes.mode) entry.job.mode = *wishes.mode;
    ++entry.revision;
  }
  return view_of(entry);
}

std::optional<JobView> JobDesk::find_blocked(const std::string& disk) const {
  std::optional<JobView> found;
  for (JobView& view : list()) {
    if (view.job.state == State::kBlocked && view.job.has_disk(disk)) found = std::move(view);
  }
  return found;
}

JobDesk::Outcome<JobView> JobDesk::resolve(const std::string& id, const Resolution& resolution) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return no_such_job(id);
  ServiceJob job = found->second->job;
  if (job.state != State::kBlocked) return wrong_state(job, "resolved");
  job.state = resolution.state;
  job.exit = static_cast<std::int64_t>(resolution.exit);
  job.message = resolution.message;
  job.advice.clear();
  job.ownership = resolution.ownership;
  job.ended = time_now();
  log_.notice(fmt::format("job {}: resolved: {}", id, job.ownership));
  return change(*found->second, job);
}

JobDesk::Outcome<JobView> JobDesk::forget(const std::string& id) {
  std::unique_ptr<Entry> gone;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return no_such_job(id);
    if (!found->second->job.is_over()) return wrong_state(found->second->job, "forgotten");
    // Its thread may still be on its way out; that takes the lock no more.
    if (found->second->watch && !found->second->watch->is_over()) {
      return wrong_state(found->second->job, "forgotten yet");
    }
    VHDXM_COMMAND_TRY_VOID(store_->remove(id));
    ::unlink(job_lock_path(places_.run_folder, id).c_str());
    gone = std::move(found->second);
    entries_.erase(found);
  }
  return view_of(*gone);
}

}  // namespace vhdxm::tools
