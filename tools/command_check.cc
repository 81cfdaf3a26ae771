// vhdx-migrate check: whether a file keeps the rules of the format.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <optional>
#include <set>

#include "base/posix_file.h"
#include "tools/command_list.h"
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
    return {.name = "check",
            .summary = "say which rules of the format a disk breaks",
            .description =
                "Checks file identifier, headers, region tables, log, metadata, parent locator, "
                "block allocation table and sector bitmaps, of the disk and of its parents, and "
                "names the rule for everything it finds. Changes nothing.\n"
                "Exit status 6 if something is corrupt; 0 if there are only warnings or notes.",
            .examples = {{"vhdx-migrate check web01.vhdx", "the disk and its parents"},
                         {"vhdx-migrate check web01.vhdx --json", "one object for each finding"},
                         {"vhdx-migrate check child.avhdx --no-parents", "this file alone"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("DISK", disk_, "a VHDX file");
    options.flag("--no-parents", no_parents_, "check this file alone");
  }

  CommandResult run(CommandContext& context) override {
    VHDXM_COMMAND_TRY_VOID(check_file(context.console, disk_));
    std::optional<CommandFailure> chain_failure;
    if (!no_parents_) chain_failure = check_parents(context);
    const bool corrupt = !corrupt_.empty();
    // What is wrong with the chain was found already if a file of it is corrupt.
    if (chain_failure && !corrupt) return std::move(*chain_failure);
    conclude(context.console);
    return corrupt ? ExitCode::kData : ExitCode::kDone;
  }

 private:
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
      return std::nullopt;
    }
    // A file that cannot be opened is worth a look at what exactly is wrong with it.
    const Error& error = image.error();
    if (!error.subject.empty() && exit_code_of(error) == ExitCode::kData) {
      static_cast<void>(check_file(context.console, file_in_subject(error.subject)));
    }
    return failure_of(error);
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
  std::set<std::string> checked_;
  std::vector<std::string> corrupt_;
  Counts counts_;
};

}  // namespace

std::unique_ptr<Command> make_check_command() {
  return std::make_unique<CheckCommand>();
}

}  // namespace vhdxm::tools
