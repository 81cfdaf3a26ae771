// vhdx-migrate check: whether a file keeps the rules of the format, and repairing one that does
// not.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <optional>
#include <set>

#include "base/posix_file.h"
#include "migration/owner_check.h"
#include "tools/command_list.h"
#include "tools/disk_repair.h"
#include "tools/json_output.h"
#include "tools/printable_text.h"
#include "vhdx/check.h"
#include "vhdx/errc.h"
#include "vhdx/image.h"

namespace vhdxm::tools {
namespace {

using vhdx::Finding;

const char* severity_name(Finding::Severity severity) {
  switch (severity) {
    case Finding::Severity::kNote:
      return "note";
    case Finding::Severity::kWarning:
      return "warning";
    case Finding::Severity::kCorrupt:
      return "corrupt";
  }
  return "unknown";
}

struct Counts {
  std::uint64_t notes = 0;
  std::uint64_t warnings = 0;
  std::uint64_t corruptions = 0;
  std::uint64_t suppressed = 0;

  void add(const vhdx::CheckReport& report) {
    for (const Finding& finding : report.findings) {
      switch (finding.severity) {
        case Finding::Severity::kNote:
          ++notes;
          break;
        case Finding::Severity::kWarning:
          ++warnings;
          break;
        case Finding::Severity::kCorrupt:
          ++corruptions;
          break;
      }
    }
    suppressed += report.suppressed;
  }
};

std::string counted(std::uint64_t count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

class CheckCommand final : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "check",
        .summary = "say which rules of the format a disk breaks",
        .description =
            "Checks file identifier, headers, region tables, log, metadata, parent locator, "
            "block allocation table and sector bitmaps, of the disk and of its parents, and "
            "names the rule for everything it finds. Changes nothing unless told to repair.\n"
            "--repair mends what is safe to mend: it replays the log, writes a damaged header "
            "or region table anew from the good one, clears what the format wants to be zero, "
            "and makes the file as long as it has to be. What would need guessing is left "
            "alone. The result is proved in memory before the file is touched. What is "
            "overwritten is kept in DISK.repair-backup.\n"
            "Exit status 6 if something is corrupt; 0 if there are only warnings or notes.",
        .examples = {
            {"vhdx-migrate check web01.vhdx", "the disk and its parents"},
            {"vhdx-migrate check web01.vhdx --json", "one object for each finding"},
            {"vhdx-migrate check child.avhdx --no-parents", "this file alone"},
            {"vhdx-migrate check --repair web01.vhdx",
             "mend what is safe, and keep what is overwritten"},
            {"vhdx-migrate check --repair --undo web01.vhdx", "take that back, to the last byte"},
            {"vhdx-migrate check --discard-backup web01.vhdx", "give the way back up"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("DISK", disk_, "a VHDX file");
    options.flag("--no-parents", no_parents_, "check this file alone");
    options.flag("--repair", repair_, "mend what is safe to mend of this file, not of its parents");
    options.flag("--undo", undo_, "with --repair: make the file what it was before the repair");
    options.flag("--discard-backup", discard_backup_, "remove what an earlier repair kept");
  }

  CommandResult run(CommandContext& context) override {
    if (undo_ && (!repair_ || discard_backup_)) {
      return usage_failure("--undo goes with --repair, and not with --discard-backup",
                           fmt::format("vhdx-migrate check --repair --undo {}", shell_word(disk_)));
    }
    if (undo_) return undo(context.console);
    if (repair_ || discard_backup_) {
      if (auto repaired = repair(context.console); repaired.has_error()) return repaired;
    }
    CommandResult checked = check_chain(context);
    if (!not_mended_) return checked;
    // What the check found has been said; this is what it comes to.
    return std::move(*not_mended_);
  }

 private:
  CommandResult check_chain(CommandContext& context) {
    VHDXM_COMMAND_TRY_VOID(check_file(context.console, disk_));
    std::optional<CommandFailure> chain_failure;
    if (!no_parents_) chain_failure = check_parents(context);
    const bool corrupt = !corrupt_.empty();
    // What is wrong with the chain was found already if a file of it is corrupt.
    if (chain_failure && !corrupt) return std::move(*chain_failure);
    conclude(context.console);
    return corrupt ? ExitCode::kData : ExitCode::kDone;
  }

  CommandResult undo(Console& console) const {
    auto disk = DiskRepair::open(disk_);
    if (disk.has_error()) return disk.error();
    CommandResult undone = disk->undo();
    if (undone.has_error()) return undone;
    say(console, "undo", "is what it was before the repair, and the backup was removed");
    return undone;
  }

  /// Leaves why the file could not be mended, if it is so, in not_mended_.
  CommandResult repair(Console& console) {
    VHDXM_COMMAND_TRY_VOID(migration::check_owner_record(disk_));
    auto disk = DiskRepair::open(disk_);
    if (disk.has_error()) return disk.error();
    if (discard_backup_ && disk->has_backup()) {
      if (auto discarded = disk->discard_backup(); discarded.has_error()) return discarded.error();
      say(console, "discard", "has no way back any more: the backup was removed");
    }
    if (!repair_) return ExitCode::kDone;
    auto plan = disk->repair();
    if (plan.has_error()) return plan.error();
    for (const vhdx::Mend& mend : plan->mends) show(console, mend);
    if (plan->obstacle) {
      not_mended_ = CommandFailure{
          .message = fmt::format("{}: not repaired, and not changed: {}", printable(disk_),
                                 printable(describe(*plan->obstacle))),
          .advice = "Restore the disk from a backup or another copy.",
          .exit = ExitCode::kData,
          .ownership = {}};
      return ExitCode::kDone;
    }
    if (plan->mends.empty()) {
      if (!console.json()) console.print(printable(disk_) + ": nothing to mend\n");
    } else {
      say(console, "repair",
          fmt::format("was repaired; what was overwritten is in {}",
                      printable(disk->backup_path())));
    }
    return ExitCode::kDone;
  }

  void say(Console& console, const char* action, const std::string& what) const {
    if (!console.json()) return console.talk(fmt::format("{} {}.", printable(disk_), what));
    boost::json::object fields;
    fields["command"] = "check";
    fields["action"] = action;
    fields["disk"] = json_text(disk_);
    fields["backup"] = json_text(repair_backup_path(disk_));
    console.object("done", fields);
  }

  void show(Console& console, const vhdx::Mend& mend) const {
    if (console.json()) {
      boost::json::object fields;
      fields["file"] = json_text(disk_);
      fields["rule"] = json_text(mend.rule);
      fields["what"] = json_text(mend.what);
      if (mend.offset != Error::kNoOffset) fields["offset"] = mend.offset;
      console.object("mend", fields);
      return;
    }
    std::string line = fmt::format("{}: mended: {}", printable(disk_), printable(mend.what));
    if (mend.offset != Error::kNoOffset) line += fmt::format(", at byte {}", mend.offset);
    console.print(fmt::format("{} ({})\n", line, mend.rule));
  }

  Result<void> check_file(Console& console, const std::string& path) {
    if (!checked_.insert(path).second) return {};
    VHDXM_TRY(std::shared_ptr<File> file, PosixFile::open(path, {}));
    VHDXM_TRY(const vhdx::CheckReport report, vhdx::check(file));
    counts_.add(report);
    if (report.corrupt()) corrupt_.push_back(path);
    for (const Finding& finding : report.findings) show(console, path, finding);
    if (report.suppressed > 0 && !console.json()) {
      console.print(
          fmt::format("{}: {} more findings are not shown\n", printable(path), report.suppressed));
    }
    console.flush();
    return {};
  }

  /// The parents as far as the chain can be followed; what stopped it.
  std::optional<CommandFailure> check_parents(CommandContext& context) {
    auto image = vhdx::Image::open(disk_);
    if (image.has_value()) {
      for (const auto& layer : (*image)->layers()) {
        if (context.interrupt.requested()) return interrupted("check: interrupted");
        if (auto result = check_file(context.console, layer->name()); result.has_error()) {
          return failure_of(result.error());
        }
      }
      check_links(context.console, **image);
      return std::nullopt;
    }
    // A file that cannot be opened is worth a look at what exactly is wrong with it.
    const Error& error = image.error();
    if (!error.subject.empty() && exit_code_of(error) == ExitCode::kData) {
      static_cast<void>(check_file(context.console, file_in_subject(error.subject)));
    }
    return failure_of(error);
  }

  void check_links(Console& console, const vhdx::Image& image) {
    const auto& layers = image.layers();
    for (std::size_t i = 0; i + 1 < layers.size(); ++i) {
      const vhdx::CheckReport report = vhdx::check_link(*layers[i], *layers[i + 1]);
      counts_.add(report);
      for (const Finding& finding : report.findings) show(console, layers[i]->name(), finding);
    }
  }

  static void show(Console& console, const std::string& path, const Finding& finding) {
    if (console.json()) {
      boost::json::object fields;
      fields["file"] = json_text(path);
      fields["severity"] = severity_name(finding.severity);
      fields["rule"] = json_text(finding.rule);
      fields["what"] = json_text(finding.what);
      if (finding.offset != Error::kNoOffset) fields["offset"] = finding.offset;
      console.object("finding", fields);
      return;
    }
    std::string line = fmt::format("{}: {}: {}", printable(path), severity_name(finding.severity),
                                   printable(finding.what));
    if (finding.offset != Error::kNoOffset) line += fmt::format(", at byte {}", finding.offset);
    if (!finding.rule.empty()) line += fmt::format(" ({})", printable(finding.rule));
    console.print(line + "\n");
  }

  void conclude(Console& console) const {
    if (console.json()) {
      boost::json::array files;
      for (const std::string& path : checked_) files.push_back(json_text(path));
      boost::json::object fields;
      fields["disk"] = json_text(disk_);
      fields["corrupt"] = !corrupt_.empty();
      fields["exit"] = static_cast<int>(corrupt_.empty() ? ExitCode::kDone : ExitCode::kData);
      fields["corruptions"] = counts_.corruptions;
      fields["warnings"] = counts_.warnings;
      fields["notes"] = counts_.notes;
      fields["suppressed"] = counts_.suppressed;
      fields["files"] = files;
      console.object("check", fields);
      return;
    }
    std::string verdict = corrupt_.empty() ? "is sound" : "is corrupt";
    if (!corrupt_.empty() && corrupt_ != std::vector<std::string>{disk_}) {
      verdict = "depends on a file that is corrupt: " + printable(corrupt_.back());
    }
    console.print(fmt::format("{} {}: {}, {}, {} in {}\n", printable(disk_), verdict,
                              counted(counts_.corruptions, "corruption", "corruptions"),
                              counted(counts_.warnings, "warning", "warnings"),
                              counted(counts_.notes, "note", "notes"),
                              counted(checked_.size(), "file", "files")));
  }

  std::string disk_;
  bool no_parents_ = false;
  bool repair_ = false;
  bool undo_ = false;
  bool discard_backup_ = false;
  std::optional<CommandFailure> not_mended_;
  std::set<std::string> checked_;
  std::vector<std::string> corrupt_;
  Counts counts_;
};

}  // namespace

std::unique_ptr<Command> make_check_command() {
  return std::make_unique<CheckCommand>();
}

}  // namespace vhdxm::tools
