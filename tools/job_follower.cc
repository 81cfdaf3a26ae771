#include "tools/job_follower.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <optional>

#include "base/size_text.h"
#include "tools/http_message.h"
#include "tools/json_output.h"
#include "tools/mover_client.h"
#include "tools/printable_text.h"
#include "tools/progress_display.h"

namespace vhdxm::tools {
namespace {

namespace json = boost::json;

/// So that Ctrl-C is noticed: the service answers earlier when there is news.
constexpr unsigned kWaitSeconds = 1;

const json::object* progress_of(const json::object& job) {
  const json::value* progress = job.if_contains("progress");
  if (progress == nullptr || !progress->is_object() || progress->as_object().empty())
    return nullptr;
  return &progress->as_object();
}

ProgressSample sample_from(const json::object& progress) {
  return {.phase = text_of(progress, "phase"),
          .disk = text_of(progress, "disk"),
          .disk_index = static_cast<std::uint32_t>(number_of(progress, "disk_index")),
          .disk_count = static_cast<std::uint32_t>(number_of(progress, "disk_count")),
          .done = number_of(progress, "phase_bytes_done"),
          .total = number_of(progress, "phase_bytes_total")};
}

/// "web01", or "web01, web02 as fast/web02.vhdx": where it is to be elsewhere, or called otherwise.
std::string disks_of(const json::object& job) {
  const json::value* const disks = job.if_contains("disks");
  std::string names;
  if (disks == nullptr || !disks->is_array()) return names;
  for (const json::value& one : disks->as_array()) {
    if (!one.is_object()) continue;
    if (!names.empty()) names += ", ";
    names += text_of(one.as_object(), "disk");
    const std::string folder = text_of(one.as_object(), "folder");
    const std::string as = text_of(one.as_object(), "as");
    if (folder.empty() && as.empty()) continue;
    names += fmt::format(" as {}{}{}", folder, folder.empty() ? "" : "/", as);
  }
  return names;
}

/// What was asked for, and what guests may have noticed; empty if there is nothing to tell.
std::string live_lines(const json::object& job) {
  const json::value* report = job.if_contains("report");
  if (report == nullptr || !report->is_object()) return "";
  const json::value* found = report->as_object().if_contains("live");
  if (found == nullptr || !found->is_object()) return "";
  const json::object& live = found->as_object();
  std::string lines;
  if (const json::value* verified = live.if_contains("verified_bytes");
      verified != nullptr && verified->is_number()) {
    const std::uint64_t left_out = number_of(live, "verify_left_out_bytes");
    lines += fmt::format("Both hosts read {} again before that, and had the same",
                         format_size(number_of(live, "verified_bytes")));
    if (left_out > 0) {
      lines +=
          fmt::format("; {} was left out, because it was written meanwhile", format_size(left_out));
    }
    lines += ".\n";
  }
  if (const std::uint64_t writes = number_of(live, "mirrored_writes"); writes > 0) {
    lines += fmt::format("{} writes, {}, were acknowledged when both hosts had them.\n", writes,
                         format_size(number_of(live, "mirrored_bytes")));
  }
  return lines;
}

CommandResult result_of(CommandContext& context, const json::object& job) {
  const std::string state = text_of(job, "state");
  if (state == "done") {
    if (context.console.json()) {
      context.console.object("job", job);
    } else {
      context.console.print(printable(text_of(job, "ownership")) + "\n" + live_lines(job));
    }
    return ExitCode::kDone;
  }
  CommandFailure failure{.message = fmt::format("job {} is {}: {}", text_of(job, "id"), state,
                                                text_of(job, "message")),
                         .advice = text_of(job, "advice"),
                         .exit = ExitCode::kNetwork,  // paused, interrupted: it can go on
                         .ownership = text_of(job, "ownership")};
  if (state == "failed" || state == "cancelled" || state == "blocked") {
    failure.exit = static_cast<ExitCode>(number_of(job, "exit"));
  }
  return failure;
}

}  // namespace

std::string job_line(const json::object& job) {
  const bool arrives = text_of(job, "kind") == "arrival";
  std::string what;
  if (arrives) {
    what = fmt::format("from {}", text_of(job, "peer"));
  } else {
    what = fmt::format("{} to {}", disks_of(job), text_of(job, "host"));
  }
  std::string line = fmt::format("{}  {}  {}", text_of(job, "id"), text_of(job, "state"), what);
  const json::object* progress = progress_of(job);
  if (text_of(job, "state") == "running" && progress != nullptr) {
    line += fmt::format(", {} {} of {}", text_of(*progress, "phase"),
                        format_size(number_of(*progress, "phase_bytes_done")),
                        format_size(number_of(*progress, "phase_bytes_total")));
  }
  const std::string message = text_of(job, "message");
  if (!message.empty()) line += ": " + message;
  return printable(line);
}

CommandResult follow_job(CommandContext& context, const ControlClient& client,
                         const std::string& id) {
  std::optional<ProgressDisplay> display;
  display.emplace(context.console, context.progress, /*quiet_start=*/false);
  std::uint64_t revision = 0;
  while (!context.interrupt.requested()) {
    const auto job = client.ask("GET", fmt::format("/v1/jobs/{}?after={}&wait={}",
                                                   percent_encoded(id), revision, kWaitSeconds));
    if (job.has_error()) return job.error();
    revision = number_of(*job, "revision");
    const std::string state = text_of(*job, "state");
    if (const json::object* progress = progress_of(*job)) display->post(sample_from(*progress));
    if (state == "queued" || state == "running") continue;
    display.reset();  // before the last words
    return result_of(context, *job);
  }
  display.reset();
  return interrupted(fmt::format("job {} goes on", id),
                     fmt::format("`vhdx-migrate watch {}` shows it again.", id));
}

}  // namespace vhdxm::tools
