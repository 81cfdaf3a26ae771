#include "tools/receive_display.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "base/size_text.h"
#include "tools/command_failure.h"
#include "tools/json_output.h"
#include "tools/peak_rss.h"
#include "tools/printable_text.h"
#include "tools/terminal.h"

namespace vhdxm::tools {
namespace {

using transfer::ReceiverEvent;

const char* json_type(ReceiverEvent::Type type) {
  using enum ReceiverEvent::Type;
  switch (type) {
    case kJobStarted:
      return "job_started";
    case kProgress:
      return "progress";
    case kDiskResumed:
      return "disk_resumed";
    case kDiskArrived:
      return "disk_arrived";
    case kDiskIdentical:
      return "disk_identical";
    case kJobDone:
      return "job_done";
    case kMeasured:
      return "measured";
    case kJobFailed:
      return "job_failed";
    case kPeerRefused:
      return "peer_refused";
  }
  return "event";
}

std::string failure_text(const ReceiverEvent& event) {
  if (!event.failure) return "no reason is known";
  return printable(failure_of(*event.failure).message);
}

/// One line for a person; empty for what has none.
std::string sentence(const ReceiverEvent& event) {
  const std::string peer = printable(event.peer);
  const std::string disk = printable(event.disk);
  using enum ReceiverEvent::Type;
  switch (event.type) {
    case kJobStarted:
      return fmt::format("job {} from {}: started", event.job, peer);
    case kDiskResumed:
      return fmt::format("job {} from {}: {} resumes: {} may be here already", event.job, peer,
                         disk, format_size(event.resumed_bytes));
    case kDiskArrived:
      return fmt::format("job {} from {}: {}, {}, is complete here; the source keeps its copy",
                         event.job, peer, disk, format_size(event.virtual_bytes));
    case kDiskIdentical:
      return fmt::format("job {} from {}: {} was here already, with the same content", event.job,
                         peer, disk);
    case kJobDone:
      return fmt::format("job {} from {}: done", event.job, peer);
    case kMeasured:
      return fmt::format("job {} from {}: measured how long a move would take; nothing was kept",
                         event.job, peer);
    case kJobFailed:
      return fmt::format("job {} from {}: failed: {}; the source still owns its disk, and {}",
                         event.job, peer, failure_text(event),
                         event.kept ? "what came of it is kept here: the same send resumes"
                                    : "nothing unfinished is left here");
    case kPeerRefused:
      return fmt::format("{}: turned away: {}", peer, failure_text(event));
    case kProgress:
      break;
  }
  return "";
}

ProgressMode without_bar(ProgressMode mode) {
  if (mode.human == ProgressMode::Human::kBar) mode.human = ProgressMode::Human::kNone;
  return mode;
}

ProgressMode only_bar(ProgressMode mode) {
  if (mode.human != ProgressMode::Human::kBar) mode.human = ProgressMode::Human::kNone;
  mode.json = false;
  return mode;
}

}  // namespace

ReceiveReporter::ReceiveReporter(Console& console, ProgressMode mode,
                                 std::function<unsigned()> columns)
    : console_(console),
      mode_(mode),
      columns_(std::move(columns)),
      bar_(console, only_bar(mode), columns_, {}) {}

void ReceiveReporter::handle(const ReceiverEvent& event, TimePoint now) {
  using enum ReceiverEvent::Type;
  if (event.type == kProgress) {
    show_progress(event, now);
    return;
  }
  if (event.type == kJobDone || event.type == kJobFailed) {
    if (const auto job = jobs_.find(event.job); job != jobs_.end()) {
      job->second.reporter.finish();
      jobs_.erase(job);
    }
    show_bar(now);
  }
  if (console_.json()) {
    show_object(event);
  } else {
    console_.talk(sentence(event));
  }
}

void ReceiveReporter::show_progress(const ReceiverEvent& event, TimePoint now) {
  if (!event.progress) return;
  boost::json::object ids;
  ids["job"] = event.job;
  ids["peer"] = json_text(event.peer);
  const auto [job, is_new] = jobs_.try_emplace(
      event.job, Job{.reporter = ProgressReporter(
                         console_, without_bar(mode_), columns_,
                         {.prefix = fmt::format("job {}: ", event.job), .json_prefix = ids}),
                     .sample = {}});
  job->second.sample = sample_of(*event.progress);
  job->second.reporter.update(job->second.sample, now);
  show_bar(now);
}

void ReceiveReporter::show_bar(TimePoint now) {
  if (jobs_.empty()) {
    bar_.finish();
    return;
  }
  if (jobs_.size() == 1) {
    bar_.update(jobs_.begin()->second.sample, now);
    return;
  }
  ProgressSample sum{.phase = "receiving", .disk = fmt::format("{} jobs", jobs_.size())};
  for (const auto& [number, job] : jobs_) {
    sum.done += job.sample.done;
    sum.total += job.sample.total;
  }
  bar_.update(sum, now);
}

void ReceiveReporter::show_object(const ReceiverEvent& event) {
  boost::json::object fields;
  if (event.job != 0) fields["job"] = event.job;
  fields["peer"] = json_text(event.peer);
  if (!event.disk.empty()) {
    fields["disk"] = json_text(event.disk);
    fields["virtual_bytes"] = event.virtual_bytes;
  }
  if (event.type == ReceiverEvent::Type::kDiskResumed) {
    fields["resumed_bytes"] = event.resumed_bytes;
  }
  if (event.type == ReceiverEvent::Type::kJobFailed) fields["kept"] = event.kept;
  if (event.type == ReceiverEvent::Type::kJobDone) {
    fields["peak_buffer_bytes"] = event.peak_buffer_bytes;
    fields["peak_rss_bytes"] = peak_rss_bytes();  // of the process, with all its jobs
  }
  if (event.failure) {
    const CommandFailure failure = failure_of(*event.failure);
    fields["exit"] = static_cast<int>(failure.exit);
    fields["message"] = json_text(failure.message);
    fields["advice"] = json_text(failure.advice);
  }
  console_.object(json_type(event.type), fields);
  console_.flush();
}

ReceiveDisplay::ReceiveDisplay(Console& console, ProgressMode mode)
    : reporter_(console, mode, [] { return terminal_columns(STDERR_FILENO); }) {}

void ReceiveDisplay::post(const ReceiverEvent& event) {
  std::string key;
  if (event.type == ReceiverEvent::Type::kProgress && event.progress) {
    key = fmt::format("{} {} {}", event.job, static_cast<int>(event.progress->phase),
                      event.progress->disk_index);
  }
  queue_.post_latest(key,
                     [this, event] { reporter_.handle(event, std::chrono::steady_clock::now()); });
}

}  // namespace vhdxm::tools
