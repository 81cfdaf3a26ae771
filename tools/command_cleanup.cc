// vhdx-migrate cleanup: shows and removes what jobs that ended early left in a folder.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/directory.h"
#include "base/size_text.h"
#include "migration/owner_check.h"
#include "tools/command_list.h"
#include "tools/control_client.h"
#include "tools/http_message.h"
#include "tools/json_output.h"
#include "tools/mover_client.h"
#include "tools/printable_text.h"
#include "transfer/errc.h"
#include "transfer/partials.h"

namespace vhdxm::tools {
namespace {

using transfer::Partial;

class CleanupCommand final : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "cleanup",
        .summary = "remove what an interrupted job left at the destination",
        .description =
            "Shows the disks that did not arrive completely in a receiver's folder, or removes "
            "one of them: NAME.vhdx.partial and its journal. Nothing else is touched, and no "
            "disk that is being received now. Without it such a disk waits for the same send to "
            "be run again, which resumes.\n"
            "Without --into it is about the host service: it forgets a job that is over; removes "
            "what arrived of a disk that was in use at its source, by the disk's name; or removes "
            "the copy, NAME.vhdx.released, that a disk left here which another host owns by now, "
            "and says that it does.",
        .examples = {
            {"vhdx-migrate cleanup --into /var/lib/disks", "shows what is there"},
            {"vhdx-migrate cleanup web01.vhdx --into /var/lib/disks",
             "removes what came of that disk"},
            {"vhdx-migrate cleanup web01.vhdx",
             "the host service removes what came of a disk in use"},
            {"vhdx-migrate cleanup web01", "the copy that web01 left here when it was moved"},
            {"vhdx-migrate cleanup web01-5f0c9a31",
             "the host service forgets that job, which is over"}}};
  }

  void add_options(OptionSet& options) override {
    options.optional_argument("ID", which_,
                              "the job's ID or the disk's name, as shown; all are shown without");
    options.text("--into", "DIR", into_,
                 "the receiver's folder; without it ID is a job of this host's service");
    add_control_option(options, control_);
  }

  CommandResult run(CommandContext& context) override {
    if (into_.empty() && !which_.empty()) return forget_job(context.console);
    if (into_.empty()) {
      return usage_failure("cleanup: --into is missing",
                           "Say which folder, e.g. --into /var/lib/disks.");
    }
    VHDXM_COMMAND_TRY(const auto folder, Directory::open(into_));
    VHDXM_COMMAND_TRY(const auto partials, transfer::list_partials(*folder));
    if (which_.empty()) {
      show(context.console, partials);
      return ExitCode::kDone;
    }
    const auto found = std::find_if(partials.begin(), partials.end(), [&](const Partial& one) {
      return one.name == which_ || one.name + ".partial" == which_ || one.id == which_;
    });
    if (found == partials.end()) {
      return usage_failure(
          fmt::format("cleanup: nothing unfinished in {} has the name or ID '{}'", into_, which_),
          fmt::format("`vhdx-migrate cleanup --into {}` shows what there is.", shell_word(into_)));
    }
    return remove(context.console, *folder, *found);
  }

 private:
  CommandResult forget_job(Console& console) const {
    const auto job = ControlClient(control_).ask("DELETE", "/v1/jobs/" + percent_encoded(which_));
    if (job.has_error()) return job.error();
    const std::string removed = text_of(*job, "what");
    if (console.json()) {
      console.object(removed.empty() ? "job_forgotten" : removed + "_removed", *job);
    } else if (removed == "arrived") {
      console.print(fmt::format("removed what came of {}\n", printable(which_)));
    } else if (removed == "released") {
      console.print(
          fmt::format("removed the copy of {} that was released; it is not registered "
                      "any more\n",
                      printable(which_)));
    } else {
      console.print(fmt::format("job {} is forgotten\n", printable(which_)));
    }
    return ExitCode::kDone;
  }

  CommandResult remove(Console& console, const Directory& folder, const Partial& partial) const {
    // This host may be about to own it: only the service knows.
    const auto owner = migration::check_owner_record(folder.path_of(partial.name));
    if (owner.has_error()) {
      CommandFailure failure = failure_of(owner.error());
      failure.message =
          fmt::format("cleanup: {} moves with its ownership: {}", partial.name, failure.message);
      failure.advice = fmt::format(
          "Its next move goes on with it. `vhdx-migrate cleanup {}` without --into has the host "
          "service remove it, if it is certain that the source owns the disk.",
          shell_word(partial.name));
      return failure;
    }
    if (const auto removed = transfer::remove_partial(folder, partial); removed.has_error()) {
      CommandFailure failure = failure_of(removed.error());
      if (removed.error().code == transfer::Errc::kBusy) {
        failure.message = fmt::format("cleanup: {} is being received now", partial.name);
        failure.advice = "Stop its sender or the receiver first.";
        failure.exit = ExitCode::kNetwork;  // temporary: it can be removed later
      }
      return failure;
    }
    if (console.json()) {
      console.object("removed", fields_of(partial));
    } else {
      console.print(fmt::format("removed {}.partial, {}\n", printable(partial.name),
                                format_size(partial.held_bytes)));
    }
    return ExitCode::kDone;
  }

  static const char* state_of(const Partial& partial) {
    if (partial.in_use) return "being received now";
    return partial.resumable ? "resumes when sent again" : "cannot be resumed";
  }

  static boost::json::object fields_of(const Partial& partial) {
    boost::json::object fields;
    fields["disk"] = json_text(partial.name);
    fields["id"] = json_text(partial.id);
    fields["virtual_bytes"] = partial.virtual_bytes;
    fields["held_bytes"] = partial.held_bytes;
    fields["in_use"] = partial.in_use;
    fields["resumable"] = partial.resumable;
    return fields;
  }

  void show(Console& console, const std::vector<Partial>& partials) const {
    for (const Partial& partial : partials) {
      if (console.json()) {
        console.object("partial", fields_of(partial));
        continue;
      }
      console.print(fmt::format("{}  {}  {} of room, {}\n", partial.id.empty() ? "-" : partial.id,
                                printable(partial.name), format_size(partial.held_bytes),
                                state_of(partial)));
    }
    if (partials.empty() && !console.json()) {
      console.talk(fmt::format("nothing unfinished in {}", printable(into_)));
    }
  }

  std::string which_;
  std::string into_;
  std::string control_ = kControlSocket;
};

}  // namespace

std::unique_ptr<Command> make_cleanup_command() {
  return std::make_unique<CleanupCommand>();
}

}  // namespace vhdxm::tools
