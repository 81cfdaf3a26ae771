#include "tools/live_job.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "base/signal_free_thread.h"
#include "migration/host_records.h"
#include "migration/json_fields.h"
#include "migration/live_move.h"
#include "migration/service_job.h"
#include "tools/command_failure.h"
#include "tools/detached_process.h"
#include "tools/job_files.h"
#include "tools/json_output.h"
#include "tools/live_progress_json.h"
#include "tools/mover_server.h"
#include "tools/printable_text.h"
#include "tools/progress_sample.h"
#include "tools/send_summary.h"
#include "tools/service_log.h"

namespace vhdxm::tools {
namespace {

using migration::HandoverEnd;
using migration::LiveMove;
using migration::LiveMoveOptions;
using migration::LiveMoveResult;
using migration::ServiceJob;
using migration::ServiceJobStore;
using LiveJobClock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLivePublishInterval{200};
/// Who looks whether the job's process lives has the lock for a moment.
constexpr std::chrono::milliseconds kLockRetry{5};
constexpr unsigned kLockTries = 1000;

transfer::Convergence::Mirror mirror_named(const std::string& name) {
  using Mirror = transfer::Convergence::Mirror;
  if (name == "always") return Mirror::kAlways;
  return name == "never" ? Mirror::kNever : Mirror::kAuto;
}

}  // namespace

class LiveJob::Run {
 public:
  explicit Run(Setting setting)
      : setting_(std::move(setting)),
        log_(STDERR_FILENO, ServiceLog::stderr_is_journal()),
        in_use_(setting_.in_use) {}

  const std::string& id() const { return setting_.id; }

  /// False: it has not begun.
  bool run(const Begun& begun) {
    if (!begin()) return false;
    begun(true);
    const LiveMoveResult result = move_->run();
    // Also if it is not confirmed yet: whoever asks waits until it is.
    for (const auto& elsewhere : elsewhere_) elsewhere->handed_over(result.job);
    finish(result);
    write();
    boost::json::object event;
    event["event"] = "ended";
    server_->publish(event);
    return true;
  }

  /// From here on another process, or thread, may have the job.
  void let_go() {
    server_.reset();
    lock_.reset();
  }

  void cancel() {
    const std::lock_guard lock(mutex_);
    end_asked_ = EndAsked::kInterrupt;
    if (move_) move_->cancel();
  }

  void set_in_use(bool in_use) {
    const std::lock_guard lock(mutex_);
    in_use_ = in_use;
    if (move_ && !max_pause_told_) move_->set_max_pause(max_pause_untold());
  }

 private:
  enum class EndAsked : std::uint8_t { kNo, kPause, kCancel, kInterrupt };

  bool begin() {
    auto store = ServiceJobStore::open(setting_.state_folder + "/jobs");
    if (store.has_error()) return complain(store.error());
    store_ = std::move(*store);
    auto job = store_->read(setting_.id);
    if (job.has_error()) return complain(job.error());
    job_ = std::move(*job);
    // As long as another process has the job, its record is that one's.
    if (const auto locked = take_lock(); locked.has_error()) return complain(locked.error());
    if (const auto ready = make_ready(); ready.has_error()) return refuse(ready.error());
    job_.state = ServiceJob::State::kRunning;
    return write();
  }

  Result<void> make_ready() {
    VHDXM_TRY(const auto key, transfer::PairingKey::read_file(job_.key_file));
    VHDXM_TRY(auto disks, disks_of_job());
    VHDXM_TRY_VOID(prepare_for_after(key));
    std::set<std::string> folders;
    for (const LiveMoveOptions::Disk& disk : disks) folders.insert(disk.place.folder);
    VHDXM_TRY(records_, migration::HostRecords::open(setting_.state_folder,
                                                     {folders.begin(), folders.end()}));
    {
      const std::lock_guard lock(mutex_);
      max_pause_told_ = job_.max_pause_ms != 0;
      began_plain_ = mode_named(job_.mode) == transfer::Mode::kPlain;
      move_ = std::make_unique<LiveMove>(
          records_->ownership(), options(key, std::move(disks)),
          [this](const transfer::Progress& progress, const transfer::LiveProgress& live) {
            note(progress, live);
          });
      if (end_asked_ != EndAsked::kNo) move_->cancel();
    }
    VHDXM_TRY(server_,
              MoverServer::start(job_socket_path(setting_.run_folder, setting_.id),
                                 [this](const std::string& op, const boost::json::object& request) {
                                   return answer(op, request);
                                 }));
    return {};
  }

  /// What clients that stay connected are given when the disks are another host's.
  Result<void> prepare_for_after(const transfer::PairingKey& key) {
    const bool forward = job_.after == "forward";
    if (forward && !setting_.make_elsewhere) {
      return Error{.code = BaseErrc::kInvalidArgument,
                   .where = "a job that is to forward, in a program that cannot",
                   .subject = job_.id};
    }
    for (const migration::ServiceJobDisk& wish : job_.disks) {
      const Setting::Disk& held = *held_at(wish.path);  // disks_of_job() has found it
      if (!held.set_elsewhere) continue;
      std::shared_ptr<ElsewhereDisk> elsewhere;
      if (forward) {
        elsewhere = setting_.make_elsewhere({.host = job_.host,
                                             .port = job_.port,
                                             .key = key,
                                             .folder = wish.folder_there,
                                             .name = wish.file_there()});
        elsewhere_.push_back(elsewhere);
      }
      held.set_elsewhere(std::move(elsewhere));
    }
    return {};
  }

  std::vector<Setting::Disk>::const_iterator held_at(const std::string& path) const {
    return std::find_if(setting_.disks.begin(), setting_.disks.end(),
                        [&](const auto& one) { return one.path == path; });
  }

  Result<void> take_lock() {
    const std::string path = job_lock_path(setting_.run_folder, setting_.id);
    for (unsigned tries = 0; tries < kLockTries; ++tries) {
      VHDXM_TRY(auto lock, ProcessLock::take(path));
      if (lock) {
        lock_.emplace(std::move(*lock));
        return {};
      }
      std::this_thread::sleep_for(kLockRetry);
    }
    errno = EWOULDBLOCK;
    return errno_error("another process has the job").about(path);
  }

  /// In the order of the record. All of the mover's disks are behind one gate, so a job moves all.
  Result<std::vector<LiveMoveOptions::Disk>> disks_of_job() const {
    std::vector<LiveMoveOptions::Disk> disks;
    for (const migration::ServiceJobDisk& wish : job_.disks) {
      const auto held = held_at(wish.path);
      if (held == setting_.disks.end()) break;
      const std::filesystem::path path(wish.path);
      disks.push_back({.disk = held->disk,
                       .place = {.folder = path.parent_path(), .name = path.filename()},
                       .name_there = wish.name_there,
                       .folder_there = wish.folder_there});
    }
    if (disks.size() == job_.disks.size() && disks.size() == setting_.disks.size()) return disks;
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "a job whose disks are not those of one group, all of them",
                 .subject = job_.id};
  }

  LiveMoveOptions options(const transfer::PairingKey& key,
                          std::vector<LiveMoveOptions::Disk> disks) const {
    LiveMoveOptions options{.sender = {.disk_path = {},
                                       .host = job_.host,
                                       .port = job_.port,
                                       .key = key,
                                       .streams = static_cast<unsigned>(job_.streams),
                                       .limit_bytes_per_second = job_.limit,
                                       .mode = mode_named(job_.mode)},
                            .disks = std::move(disks),
                            .group = job_.group};
    options.limits.max_pause =
        job_.max_pause_ms != 0 ? std::chrono::milliseconds(job_.max_pause_ms) : max_pause_untold();
    options.limits.hold_when_ready = job_.cutover == "auto";
    options.limits.mirror = mirror_named(job_.mirror);
    options.sender.verify = job_.verify;
    return options;
  }

  /// mutex_ is held.
  std::chrono::steady_clock::duration max_pause_untold() const {
    if (!in_use_) return std::chrono::milliseconds(ServiceJob::kMaxPauseMsMax);
    return transfer::Convergence::Limits{}.max_pause;
  }

  MoverAnswer answer(const std::string& op, const boost::json::object& request) {
    MoverAnswer answer;
    answer.fields["kind"] = "job";
    answer.fields["software"] = VHDXM_VERSION;
    answer.fields["pid"] = ::getpid();
    answer.fields["id"] = setting_.id;
    if (op == "pause" || op == "cancel") {
      {
        const std::lock_guard lock(mutex_);
        end_asked_ = op == "pause" ? EndAsked::kPause : EndAsked::kCancel;
      }
      move_->cancel();
      return answer;
    }
    if (op == "cutover") {
      move_->cut_over();
      return answer;
    }
    if (op == "set") return set(request, std::move(answer));
    if (op != "status" && op != "subscribe") {
      return mover_error("unknown_op", fmt::format("a live job does not know '{}'", op));
    }
    answer.subscribes = op == "subscribe";
    const std::lock_guard lock(mutex_);
    answer.fields["progress"] = progress_;
    return answer;
  }

  MoverAnswer set(const boost::json::object& request, MoverAnswer answer) {
    std::uint64_t limit = 0;
    std::uint64_t max_pause_ms = 0;
    std::string mode;
    migration::JsonFields fields(request);
    fields.number("limit", limit, ~std::uint64_t{0});
    fields.number("max_pause_ms", max_pause_ms, ServiceJob::kMaxPauseMsMax);
    fields.choice("mode", mode, {"auto", "plain", "compress"});
    if (const std::string complaint = fields.finish(); !complaint.empty()) {
      return mover_error("bad_request", complaint);
    }
    {
      const std::lock_guard lock(mutex_);
      if (began_plain_ && fields.has("mode") && mode != "plain") {
        return mover_error("not_now",
                           "it began as plain, so the other side expects nothing compressed: pause "
                           "it, set the mode, and resume it");
      }
    }
    if (fields.has("mode")) {
      move_->set_mode(mode_named(mode));
      const std::lock_guard lock(mutex_);
      mode_set_ = mode;
    }
    if (fields.has("limit")) {
      move_->set_limit(limit);
      const std::lock_guard lock(mutex_);
      limit_set_ = limit;
    }
    if (fields.has("max_pause_ms") && max_pause_ms != 0) {
      const std::lock_guard lock(mutex_);
      max_pause_told_ = true;
      move_->set_max_pause(std::chrono::milliseconds(max_pause_ms));
      max_pause_set_ = max_pause_ms;
    }
    return answer;
  }

  void note(const transfer::Progress& progress, const transfer::LiveProgress& live) {
    const auto now = LiveJobClock::now();
    const std::lock_guard lock(mutex_);
    ProgressSample sample = sample_of(progress);
    if (live.phase != transfer::LivePhase::kCopying) sample.phase = to_string(live.phase);
    if (live.mirroring && live.phase == transfer::LivePhase::kPasses) {
      sample.phase = "mirrored passes";
    }
    if (sample.phase != phase_) pace_.reset();
    pace_.add(now, sample.done);
    streams_most_ = std::max(streams_most_, progress.streams);
    if (sample.phase == phase_ && now - published_ < kLivePublishInterval) return;
    phase_ = sample.phase;
    published_ = now;
    progress_ = progress_fields(sample, pace_);
    progress_["live"] = live_fields(live);
    boost::json::object event;
    event["event"] = "progress";
    event["progress"] = progress_;
    server_->publish(event);
  }

  void finish(const LiveMoveResult& result) {
    const std::lock_guard lock(mutex_);
    job_.ended = rfc3339(std::chrono::system_clock::now());
    job_.ownership = result.owner_sentence;
    // What was set goes for the next time, too.
    if (limit_set_) job_.limit = *limit_set_;
    if (max_pause_set_) job_.max_pause_ms = *max_pause_set_;
    if (mode_set_) job_.mode = *mode_set_;
    job_.exit = result.exit_code();
    switch (result.kind) {
      case HandoverEnd::Kind::kDone:
      case HandoverEnd::Kind::kReclaimed:
        return finish_well(result);
      case HandoverEnd::Kind::kUnconfirmed:
        job_.state = ServiceJob::State::kBlocked;
        job_.message = "the destination has not said that it took the disk: " + cause_of(result);
        job_.advice = blocked_advice(setting_.id);
        return;
      case HandoverEnd::Kind::kCancelled:
        return finish_cancelled();
      default:
        break;
    }
    job_.state = ServiceJob::State::kFailed;
    if (!result.failure) return;
    const CommandFailure failure = failure_of(*result.failure);
    job_.exit = static_cast<std::int64_t>(failure.exit);
    job_.message = failure.message;
    job_.advice = failure.advice;
  }

  static std::string cause_of(const LiveMoveResult& result) {
    return result.failure ? failure_of(*result.failure).message : "the job ended";
  }

  void finish_well(const LiveMoveResult& result) {
    job_.state = ServiceJob::State::kDone;
    if (result.report) {
      job_.report =
          summary_json({.report = *result.report, .host = job_.host, .streams = streams_most_});
    }
    job_.report["command"] = "move";
    job_.report["ownership"] = json_text(result.owner_sentence);
    job_.report["live"] = live_fields(result.live);
  }

  void finish_cancelled() {
    const bool paused = end_asked_ == EndAsked::kPause;
    // Those of all disks, where there are several.
    job_.advice = fmt::format("`vhdx-migrate cleanup {}` there removes it.",
                              shell_word(job_.disks.front().place_there()));
    if (end_asked_ == EndAsked::kInterrupt) {
      job_.state = ServiceJob::State::kInterrupted;
      job_.exit = static_cast<std::int64_t>(ExitCode::kNetwork);
      job_.message = "the disk was closed; the destination keeps what has arrived";
    } else {
      job_.state = paused ? ServiceJob::State::kPaused : ServiceJob::State::kCancelled;
      job_.exit = paused ? 0 : static_cast<int>(ExitCode::kCancelled);
      job_.message = paused ? "paused; the destination keeps what has arrived"
                            : "cancelled; the destination keeps what has arrived";
    }
    if (job_.state != ServiceJob::State::kCancelled) {
      job_.advice = fmt::format("`vhdx-migrate resume {}` goes on with it.", setting_.id);
    }
  }

  bool complain(const Error& error) {
    log_.error(fmt::format("{}: {}", setting_.id, describe(error)));
    return false;
  }

  /// Before it began. Always false.
  bool refuse(const Error& error) {
    const CommandFailure failure = failure_of(error);
    job_.ended = rfc3339(std::chrono::system_clock::now());
    job_.state = ServiceJob::State::kFailed;
    job_.exit = static_cast<std::int64_t>(failure.exit);
    job_.message = failure.message;
    job_.advice = failure.advice;
    job_.ownership = "This host owns the disk, as before.";
    write();
    return false;
  }

  bool write() {
    const auto written = store_->write(job_);
    return written.has_value() || complain(written.error());
  }

  const Setting setting_;
  ServiceLog log_;
  std::optional<ProcessLock> lock_;
  std::unique_ptr<ServiceJobStore> store_;
  std::unique_ptr<migration::HostRecords> records_;
  ServiceJob job_;  ///< Of the job's thread.
  std::vector<std::shared_ptr<ElsewhereDisk>> elsewhere_;
  std::mutex mutex_;
  std::unique_ptr<LiveMove> move_;  ///< Made under mutex_; it stays.
  // Protected by mutex_:
  bool in_use_;
  bool max_pause_told_ = false;  ///< By the record, or by `set`.
  EndAsked end_asked_ = EndAsked::kNo;
  std::optional<std::uint64_t> limit_set_;
  std::optional<std::uint64_t> max_pause_set_;
  bool began_plain_ = false;
  std::optional<std::string> mode_set_;
  Pace pace_;
  std::string phase_;
  unsigned streams_most_ = 0;
  LiveJobClock::time_point published_{};
  boost::json::object progress_;

  std::unique_ptr<MoverServer> server_;  // Last: its thread uses the others.
};

LiveJob::LiveJob(Setting setting, Begun begun) : run_(std::make_unique<Run>(std::move(setting))) {
  thread_ = signal_free_thread([this, begun = std::move(begun)] {
    const bool has_begun = run_->run(begun);
    over_ = true;  // before anybody can find the lock free, and ask for another job
    run_->let_go();
    if (!has_begun) begun(false);
  });
}

LiveJob::~LiveJob() {
  run_->cancel();
  thread_.join();
}

const std::string& LiveJob::id() const {
  return run_->id();
}

void LiveJob::set_in_use(bool in_use) {
  run_->set_in_use(in_use);
}

}  // namespace vhdxm::tools
