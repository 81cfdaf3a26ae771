// vhdx-migrate list, status, watch, set, pause, resume, cancel, cutover, resolve: the jobs of this
// host's service.
#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "migration/service_job.h"
#include "tools/command_list.h"
#include "tools/control_client.h"
#include "tools/http_message.h"
#include "tools/job_follower.h"
#include "tools/json_output.h"
#include "tools/mover_client.h"
#include "tools/printable_text.h"

namespace vhdxm::tools {
namespace {

namespace json = boost::json;

class ListCommand final : public Command {
 public:
  CommandText text() const override {
    return {.name = "list",
            .summary = "list the jobs of this host's service",
            .description =
                "Shows the moves that the host service was asked for, whatever became "
                "of them, and what other hosts send here now or have sent lately.",
            .examples = {{"vhdx-migrate list", "one line a job"},
                         {"vhdx-migrate list --json", "everything that is known of each"}}};
  }

  void add_options(OptionSet& options) override { add_control_option(options, control_); }

  CommandResult run(CommandContext& context) override {
    const auto reply = ControlClient(control_).ask("GET", "/v1/jobs");
    if (reply.has_error()) return reply.error();
    const json::value* jobs = reply->if_contains("jobs");
    if (jobs == nullptr || !jobs->is_array()) return ExitCode::kDone;
    for (const json::value& job : jobs->as_array()) {
      if (!job.is_object()) continue;
      if (context.console.json()) {
        context.console.object("job", job.as_object());
      } else {
        context.console.print(job_line(job.as_object()) + "\n");
      }
    }
    if (jobs->as_array().empty() && !context.console.json()) context.console.talk("no jobs");
    return ExitCode::kDone;
  }

 private:
  std::string control_ = kControlSocket;
};

/// The commands that are about one job.
class JobCommand : public Command {
 public:
  explicit JobCommand(CommandText text, const char* argument = "ID",
                      const char* help = "of the job, as `vhdx-migrate list` shows it")
      : text_(std::move(text)), argument_(argument), help_(help) {}

  CommandText text() const override { return text_; }

  void add_options(OptionSet& options) override {
    options.argument(argument_, id_, help_);
    add_control_option(options, control_);
  }

 protected:
  std::string target() const { return "/v1/jobs/" + percent_encoded(id_); }
  ControlClient client() const { return ControlClient(control_); }
  const std::string& id() const { return id_; }

  static CommandResult show(Console& console, const ControlClient::Reply& job) {
    if (job.has_error()) return job.error();
    if (console.json()) {
      console.object("job", *job);
    } else {
      console.print(job_line(*job) + "\n");
    }
    return ExitCode::kDone;
  }

 private:
  const CommandText text_;
  const char* const argument_;
  const char* const help_;
  std::string id_;
  std::string control_ = kControlSocket;
};

class StatusCommand final : public JobCommand {
 public:
  StatusCommand()
      : JobCommand({.name = "status",
                    .summary = "show how a job of this host's service is",
                    .description = "Shows a job's state, and how far it is.",
                    .examples = {{"vhdx-migrate status web01-5f0c9a31", "one line"},
                                 {"vhdx-migrate status web01-5f0c9a31 --json",
                                  "everything that is known of it"}}}) {}
  CommandResult run(CommandContext& context) override {
    return show(context.console, client().ask("GET", target()));
  }
};

class WatchCommand final : public JobCommand {
 public:
  WatchCommand()
      : JobCommand({.name = "watch",
                    .summary = "follow a job of this host's service to its end",
                    .description =
                        "Shows how far the job is until it is over, and ends as it ends: "
                        "with its exit status. Ctrl-C ends the watching, not the job.",
                    .examples = {{"vhdx-migrate watch web01-5f0c9a31", "a bar, on a terminal"}}}) {}
  CommandResult run(CommandContext& context) override {
    return follow_job(context, client(), id());
  }
};

/// pause, resume, cancel: POST to the job's resource of that name.
class ActCommand final : public JobCommand {
 public:
  using JobCommand::JobCommand;
  CommandResult run(CommandContext& context) override {
    return show(context.console, client().ask("POST", target() + "/" + text().name));
  }
};

class SetCommand final : public JobCommand {
 public:
  SetCommand()
      : JobCommand({.name = "set",
                    .summary = "change a job of this host's service while it runs",
                    .description = "For a job that is not over: at once if it runs, and for each "
                                   "time that it is resumed.",
                    .examples = {{"vhdx-migrate set web01-5f0c9a31 --limit 200M",
                                  "so many bytes a second on the wire; 0 takes the limit away"},
                                 {"vhdx-migrate set web01-5f0c9a31 --max-pause 50ms",
                                  "how long writes may wait; a shorter one holds at once"}}}) {}

  void add_options(OptionSet& options) override {
    JobCommand::add_options(options);
    options.size("--limit", limit_, "at most so many bytes a second on the wire, 64K or more");
    options.time("--max-pause", max_pause_ms_, migration::ServiceJob::kMaxPauseMsMax,
                 "how long writes may wait until the hand-over");
    options.choice(
        "--mode", mode_, {"auto", "plain", "compress"},
        "how data travels from now on; a job that began as plain has to be paused first");
  }

  CommandResult run(CommandContext& context) override {
    json::object wish;
    if (limit_) wish["limit"] = *limit_;
    if (max_pause_ms_) wish["max_pause_ms"] = *max_pause_ms_;
    if (!mode_.empty()) wish["mode"] = mode_;
    if (wish.empty()) {
      return usage_failure("set: there is nothing to set",
                           "Say --limit, --max-pause or --mode, or several of them.");
    }
    return show(context.console, client().ask("POST", target() + "/set", wish));
  }

 private:
  std::optional<std::uint64_t> limit_;
  std::optional<std::uint64_t> max_pause_ms_;
  std::string mode_;
};

class ResolveCommand final : public JobCommand {
 public:
  ResolveCommand()
      : JobCommand(
            {.name = "resolve",
             .summary = "find out who owns a disk after a hand-over that was cut short",
             .description =
                 "For a job that is blocked: the source released the disk, and has not heard that "
                 "the destination took it. Asks the destination's host, by the job's address and "
                 "key, and ends the job: afterwards one of the two hosts owns the disk, and the "
                 "sentence says which. Run it at the source. The service does this by itself from "
                 "time to time; this does it now.\n"
                 "If the other host is destroyed, --force-owner-here with --peer-destroyed makes "
                 "this host the owner, at the source or at the destination. If the other one is "
                 "not destroyed and ever serves the disk again, two copies go their own ways, and "
                 "one of them will be lost.",
             .examples = {{"vhdx-migrate resolve web01-5f0c9a31", "the job, as `list` shows it"},
                          {"vhdx-migrate resolve web01 --force-owner-here --peer-destroyed",
                           "the disk, when the other host has burnt down"}}},
            "WHAT", "the job's ID, or the disk's name") {}

  void add_options(OptionSet& options) override {
    JobCommand::add_options(options);
    options.flag("--force-owner-here", force_, "make this host the owner, whatever was agreed");
    options.flag("--peer-destroyed", destroyed_, "the other host will never serve the disk again");
  }

  CommandResult run(CommandContext& context) override {
    if (force_ != destroyed_) {
      return usage_failure("resolve: --force-owner-here goes with --peer-destroyed",
                           "If the other host lives, ask it: leave both out.");
    }
    json::object wish;
    wish["what"] = json_text(id());
    wish["force_owner_here"] = force_;
    wish["peer_destroyed"] = destroyed_;
    const auto answer = client().ask("POST", "/v1/resolve", wish);
    if (answer.has_error()) return answer.error();
    if (context.console.json()) {
      context.console.object("resolved", *answer);
    } else {
      context.console.print(printable(text_of(*answer, "ownership")) + "\n");
    }
    return ExitCode::kDone;
  }

 private:
  bool force_ = false;
  bool destroyed_ = false;
};

}  // namespace

std::unique_ptr<Command> make_set_command() {
  return std::make_unique<SetCommand>();
}

std::unique_ptr<Command> make_resolve_command() {
  return std::make_unique<ResolveCommand>();
}

std::unique_ptr<Command> make_cutover_command() {
  return std::make_unique<ActCommand>(
      CommandText{.name = "cutover",
                  .summary = "have a job hand its disk over as soon as it fits the pause",
                  .description = "For a job of `move --cutover manual`, which goes on copying what "
                                 "guests write until somebody says so.",
                  .examples = {{"vhdx-migrate cutover web01-5f0c9a31", "then `watch` it"}}});
}

std::unique_ptr<Command> make_list_command() {
  return std::make_unique<ListCommand>();
}

std::unique_ptr<Command> make_status_command() {
  return std::make_unique<StatusCommand>();
}

std::unique_ptr<Command> make_watch_command() {
  return std::make_unique<WatchCommand>();
}

std::unique_ptr<Command> make_pause_command() {
  return std::make_unique<ActCommand>(
      CommandText{.name = "pause",
                  .summary = "pause a job of this host's service",
                  .description = "Ends the job's connections; the destination keeps what has "
                                 "arrived. `resume` goes on with it.",
                  .examples = {{"vhdx-migrate pause web01-5f0c9a31", "until it is resumed"}}});
}

std::unique_ptr<Command> make_resume_command() {
  return std::make_unique<ActCommand>(CommandText{
      .name = "resume",
      .summary = "go on with a job that was paused, was interrupted or has failed",
      .description = "What is at the destination is compared by its hashes, and only what differs "
                     "is sent.",
      .examples = {{"vhdx-migrate resume web01-5f0c9a31", "`watch` shows how far it is"}}});
}

std::unique_ptr<Command> make_cancel_command() {
  return std::make_unique<ActCommand>(
      CommandText{.name = "cancel",
                  .summary = "cancel a job of this host's service",
                  .description = "Ends the job for good; the source stays the owner. What has "
                                 "arrived stays at the destination until `cleanup` removes it "
                                 "there, or the disk is moved again.",
                  .examples = {{"vhdx-migrate cancel web01-5f0c9a31", "the source is untouched"}}});
}

}  // namespace vhdxm::tools
