// vhdx-migrate info: everything worth knowing about a disk.
#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "tools/command_list.h"
#include "tools/disk_report.h"
#include "tools/json_output.h"
#include "tools/printable_text.h"
#include "vhdx/image.h"

namespace vhdxm::tools {
namespace {

class InfoCommand final : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "info",
        .summary = "show everything about a disk and its parents",
        .description =
            "Shows type, sizes, identity, allocation, log and headers of a VHDX file, and of "
            "the parents of a differencing disk. Changes nothing: a log that was left behind "
            "is replayed in memory.",
        .examples = {{"vhdx-migrate info web01.vhdx", "for a person"},
                     {"vhdx-migrate info web01.vhdx --json | jq .virtual_bytes", "for a program"},
                     {"vhdx-migrate info child.avhdx --no-parents",
                      "one file alone, e.g. when its parent is missing"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("DISK", disk_, "a VHDX file");
    options.flag("--no-parents", no_parents_, "do not look for the parents");
  }

  CommandResult run(CommandContext& context) override {
    // The file alone comes first: what can be said of it is said even if a parent is missing.
    VHDXM_COMMAND_TRY(const auto leaf, vhdx::Image::open(disk_, {.leaf_only = true}));
    VHDXM_COMMAND_TRY(const DiskReport report, report_on(disk_, *leaf->layers().front()));
    std::vector<DiskReport> parents;
    std::optional<CommandFailure> chain_failure;
    if (report.description.parent && !no_parents_) {
      chain_failure = gather_parents(parents);
    }
    if (context.console.json()) {
      print_json(context.console, report, parents);
    } else {
      print_text(context.console, report, parents);
    }
    if (chain_failure) return std::move(*chain_failure);
    return ExitCode::kDone;
  }

 private:
  std::optional<CommandFailure> gather_parents(std::vector<DiskReport>& parents) {
    auto image = vhdx::Image::open(disk_);
    if (image.has_error()) return failure_of(image.error());
    const auto& layers = (*image)->layers();
    for (std::size_t i = 1; i < layers.size(); ++i) {
      auto report = report_on(layers[i]->name(), *layers[i]);
      if (report.has_error()) return failure_of(report.error());
      parents.push_back(std::move(*report));
    }
    return std::nullopt;
  }

  static void print_json(Console& console, const DiskReport& report,
                         const std::vector<DiskReport>& parents) {
    boost::json::object object = to_json(report);
    boost::json::array chain;
    for (const DiskReport& parent : parents) chain.push_back(to_json(parent));
    object["parents"] = chain;
    console.object("info", object);
  }

  static void print_text(Console& console, const DiskReport& report,
                         const std::vector<DiskReport>& parents) {
    console.print(printable(report.path) + "\n" + to_text(report));
    for (std::size_t i = 0; i < parents.size(); ++i) {
      console.print(fmt::format("parent {}: {}\n", i + 1, printable(parents[i].path)));
      console.print(to_text(parents[i]));
    }
  }

  std::string disk_;
  bool no_parents_ = false;
};

}  // namespace

std::unique_ptr<Command> make_info_command() {
  return std::make_unique<InfoCommand>();
}

}  // namespace vhdxm::tools
