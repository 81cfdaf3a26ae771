// vhdx-migrate list, status, watch, pause, resume, cancel: the jobs of this host's service.
#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "tools/command_list.h"
#include "tools/control_client.h"
#include "tools/http_message.h"
#include "tools/job_follower.h"
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
  explicit JobCommand(CommandText text) : text_(std::move(text)) {}

  CommandText text() const override { return text_; }

  void add_options(OptionSet& options) override {
    options.argument("ID", id_, "of the job, as `vhdx-migrate list` shows it");
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

}  // namespace

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
