// vhdx-migrate compare: content against content.
#include <fmt/format.h>

#include "base/size_text.h"
#include "tools/command_list.h"
#include "tools/json_output.h"
#include "tools/printable_text.h"
#include "tools/watched_work.h"
#include "vhdx/content_compare.h"

namespace vhdxm::tools {
namespace {

vhdx::ContentFormat format_of(const std::string& choice) {
  if (choice == "vhdx") return vhdx::ContentFormat::kVhdx;
  if (choice == "raw") return vhdx::ContentFormat::kRaw;
  return vhdx::ContentFormat::kAuto;
}

class CompareCommand final : public Command {
 public:
  CommandText text() const override {
    return {.name = "compare",
            .summary = "compare the content of two disks, VHDX or raw",
            .description =
                "Compares what a guest would read, byte for byte; block sizes, types and where "
                "zeros come from do not matter. What both sides know to be zero is not read.\n"
                "Exit status 0 if the content is the same, 6 if it differs.",
            .examples = {{"vhdx-migrate compare web01.vhdx copy.vhdx", "two VHDX disks"},
                         {"vhdx-migrate compare web01.vhdx web01.raw --format-b raw",
                          "against a raw disk, whatever a guest wrote to its start"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("A", first_, "a VHDX file or a raw disk");
    options.argument("B", second_, "another one");
    options.choice("--format-a", first_format_, {"auto", "vhdx", "raw"},
                   "what A is; auto looks at its first bytes");
    options.choice("--format-b", second_format_, {"auto", "vhdx", "raw"}, "what B is");
  }

  CommandResult run(CommandContext& context) override {
    VHDXM_COMMAND_TRY(const auto first, vhdx::open_content(first_, format_of(first_format_)));
    VHDXM_COMMAND_TRY(const auto second, vhdx::open_content(second_, format_of(second_format_)));
    std::optional<WatchedWork> work;
    work.emplace(context, "comparing", first_);
    const auto comparison = vhdx::compare_content(*first, *second, work->watch());
    work.reset();
    if (comparison.has_error()) {
      return work_failure(comparison.error(), "compare: interrupted, nothing is known yet");
    }
    if (context.console.json()) {
      print_json(context.console, *comparison);
    } else {
      context.console.print(verdict(*comparison) + "\n");
    }
    return comparison->same() ? ExitCode::kDone : ExitCode::kData;
  }

 private:
  std::string verdict(const vhdx::Comparison& comparison) const {
    const std::string pair = printable(first_) + " and " + printable(second_);
    if (comparison.same()) {
      return fmt::format("{} hold the same content, {}.", pair,
                         format_size(comparison.first_size_bytes));
    }
    std::string text = pair + " differ";
    if (comparison.first_difference) {
      text += fmt::format(": the first different byte is at {}", *comparison.first_difference);
    } else {
      text += " in size only: what both have is the same";
    }
    if (comparison.first_size_bytes != comparison.second_size_bytes) {
      text += fmt::format("; the first is {} bytes long, the second {}",
                          comparison.first_size_bytes, comparison.second_size_bytes);
    }
    return text + ".";
  }

  void print_json(Console& console, const vhdx::Comparison& comparison) const {
    boost::json::object fields;
    fields["a"] = json_text(first_);
    fields["b"] = json_text(second_);
    fields["same"] = comparison.same();
    if (comparison.first_difference) {
      fields["first_difference"] = *comparison.first_difference;
    } else {
      fields["first_difference"] = nullptr;
    }
    fields["a_bytes"] = comparison.first_size_bytes;
    fields["b_bytes"] = comparison.second_size_bytes;
    fields["exit"] = static_cast<int>(comparison.same() ? ExitCode::kDone : ExitCode::kData);
    console.object("compare", fields);
  }

  std::string first_;
  std::string second_;
  std::string first_format_ = "auto";
  std::string second_format_ = "auto";
};

}  // namespace

std::unique_ptr<Command> make_compare_command() {
  return std::make_unique<CompareCommand>();
}

}  // namespace vhdxm::tools
