#include "tools/job_runner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "migration/json_fields.h"
#include "migration/service_job.h"
#include "tools/command_failure.h"
#include "tools/job_files.h"
#include "tools/json_output.h"
#include "tools/mover_server.h"
#include "tools/progress_sample.h"
#include "tools/send_summary.h"
#include "tools/service_log.h"
#include "transfer/sender.h"

namespace vhdxm::tools {
namespace {

using migration::ServiceJob;
using migration::ServiceJobStore;
using JobClock = std::chrono::steady_clock;

constexpr int kReadyFdOfJob = 4;
constexpr std::chrono::milliseconds kPublishInterval{200};

class JobProcess {
 public:
  JobProcess(ServiceJob job, const ServiceJobStore& store, ServiceLog& log)
      : job_(std::move(job)), store_(store), log_(log) {}

  /// False: nothing was done, and the log says why.
  bool run(const std::string& socket) {
    auto key = transfer::PairingKey::read_file(job_.key_file);
    if (key.has_error()) return refuse(failure_of(key.error()));
    sender_ = std::make_unique<transfer::Sender>(
        options(*key), [this](const transfer::Progress& progress) { note(progress); });
    auto server = MoverServer::start(
        socket, [this](const std::string& op, const boost::json::object& request) {
          return answer(op, request);
        });
    if (server.has_error()) return refuse(failure_of(server.error()));
    server_ = std::move(*server);
    job_.state = ServiceJob::State::kRunning;
    if (!write()) return false;
    [[maybe_unused]] const ssize_t told = ::write(kReadyFdOfJob, "R", 1);
    ::close(kReadyFdOfJob);
    finish(sender_->run());
    write();
    boost::json::object event;
    event["event"] = "ended";
    server_->publish(event);
    server_.reset();
    return true;
  }

 private:
  enum class EndAsked : std::uint8_t { kNo, kPause, kCancel };

  transfer::SenderOptions options(const transfer::PairingKey& key) const {
    return {.disk_path = job_.path,
            .host = job_.host,
            .port = job_.port,
            .key = key,
            .name = job_.name_there,
            .streams = static_cast<unsigned>(job_.streams),
            .limit_bytes_per_second = job_.limit,
            .mode = mode_named(job_.mode),
            .verify = job_.verify};
  }

  MoverAnswer answer(const std::string& op, const boost::json::object& request) {
    MoverAnswer answer;
    answer.fields["kind"] = "job";
    answer.fields["software"] = VHDXM_VERSION;
    answer.fields["pid"] = ::getpid();
    answer.fields["id"] = job_.id;
    if (op == "pause" || op == "cancel") {
      how_.store(op == "pause" ? EndAsked::kPause : EndAsked::kCancel);
      sender_->cancel();
      return answer;
    }
    if (op == "set") return set(request, std::move(answer));
    if (op != "status" && op != "subscribe") {
      return mover_error("unknown_op", fmt::format("a job's process does not know '{}'", op));
    }
    answer.subscribes = op == "subscribe";
    const std::lock_guard lock(mutex_);
    answer.fields["progress"] = progress_;
    return answer;
  }

  MoverAnswer set(const boost::json::object& request, MoverAnswer answer) {
    std::int64_t version = 0;
    std::string op;
    std::uint64_t limit = 0;
    migration::JsonFields fields(request);
    fields.number("version", version, kMoverProtocol, kMoverProtocol);
    fields.text("op", op);
    fields.number("limit", limit, ~std::uint64_t{0}, true);
    if (const std::string complaint = fields.finish(); !complaint.empty()) {
      return mover_error("bad_request", complaint);
    }
    sender_->set_limit(limit);
    const std::lock_guard lock(mutex_);
    limit_set_ = limit;
    return answer;
  }

  void note(const transfer::Progress& progress) {
    const auto now = JobClock::now();
    const std::lock_guard lock(mutex_);
    const ProgressSample sample = sample_of(progress);
    if (sample.phase != phase_) pace_.reset();
    pace_.add(now, sample.done);
    streams_most_ = std::max(streams_most_, progress.streams);
    if (sample.phase == phase_ && now - published_ < kPublishInterval) return;
    phase_ = sample.phase;
    published_ = now;
    progress_ = progress_fields(sample, pace_);
    boost::json::object event;
    event["event"] = "progress";
    event["progress"] = progress_;
    server_->publish(event);
  }

  void finish(const transfer::SendResult& result) {
    {
      // It goes for the next time, too.
      const std::lock_guard lock(mutex_);
      if (limit_set_) job_.limit = *limit_set_;
    }
    job_.ended = rfc3339(std::chrono::system_clock::now());
    if (result.has_error()) {
      finish_failed(result.error());
      return;
    }
    const std::lock_guard lock(mutex_);
    const SendOutcome outcome{.report = *result, .host = job_.host, .streams = streams_most_};
    job_.state = ServiceJob::State::kDone;
    job_.exit = 0;
    job_.ownership = ownership_sentence(outcome);
    job_.report = summary_json(outcome);
  }

  void finish_failed(const transfer::Failure& failed) {
    const CommandFailure failure = failure_of(failed);
    job_.ownership = who_owns();
    if (failed.failure_class == transfer::FailureClass::kCancelled &&
        how_.load() != EndAsked::kNo) {
      const bool paused = how_.load() == EndAsked::kPause;
      job_.state = paused ? ServiceJob::State::kPaused : ServiceJob::State::kCancelled;
      job_.exit = paused ? 0 : static_cast<int>(ExitCode::kCancelled);
      job_.message = paused ? "paused; the destination keeps what has arrived"
                            : "cancelled; the destination keeps what has arrived";
      job_.advice = paused ? "`vhdx-migrate resume` goes on with it."
                           : "`vhdx-migrate cleanup` removes it there.";
      return;
    }
    fail(failure);
  }

  std::string who_owns() const {
    return fmt::format("The source still owns {}; it was not changed.",
                       job_.disk.empty() ? job_.path : job_.disk);
  }

  /// Before it began. Always false.
  bool refuse(const CommandFailure& failure) {
    job_.ended = rfc3339(std::chrono::system_clock::now());
    job_.ownership = who_owns();
    fail(failure);
    write();
    return false;
  }

  void fail(const CommandFailure& failure) {
    job_.state = ServiceJob::State::kFailed;
    job_.exit = static_cast<int>(failure.exit);
    job_.message = failure.message;
    job_.advice = failure.advice;
  }

  bool write() {
    const auto written = store_.write(job_);
    if (written.has_error()) log_.error(fmt::format("{}: {}", job_.id, describe(written.error())));
    return !written.has_error();
  }

  ServiceJob job_;  ///< Of the main thread; others read what never changes.
  const ServiceJobStore& store_;
  ServiceLog& log_;
  std::unique_ptr<transfer::Sender> sender_;
  std::atomic<EndAsked> how_ = EndAsked::kNo;
  std::mutex mutex_;
  // Protected by mutex_:
  std::optional<std::uint64_t> limit_set_;
  Pace pace_;
  std::string phase_;
  unsigned streams_most_ = 0;
  JobClock::time_point published_{};
  boost::json::object progress_;

  std::unique_ptr<MoverServer> server_;  // Last: its thread uses the others.
};

}  // namespace

int run_job(const std::vector<std::string>& words) {
  ServiceLog log(STDERR_FILENO, ServiceLog::stderr_is_journal());
  if (words.size() != 3) {
    log.error("run-job is for the service itself, which starts jobs by it");
    return static_cast<int>(ExitCode::kUsage);
  }
  const std::string& id = words[2];
  const auto store = ServiceJobStore::open(words[0] + "/jobs");
  if (store.has_error()) {
    log.error(describe(store.error()));
    return static_cast<int>(ExitCode::kFailed);
  }
  auto job = (*store)->read(id);
  if (job.has_error()) {
    log.error(describe(job.error()));
    return static_cast<int>(ExitCode::kFailed);
  }
  JobProcess process(std::move(*job), **store, log);
  return process.run(job_socket_path(words[1], id)) ? 0 : static_cast<int>(ExitCode::kFailed);
}

}  // namespace vhdxm::tools
