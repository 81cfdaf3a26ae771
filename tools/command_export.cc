// vhdx-migrate export: a disk's content as a raw file or stream.
#include <fmt/format.h>
#include <unistd.h>

#include "base/size_text.h"
#include "tools/command_list.h"
#include "tools/json_output.h"
#include "tools/new_file.h"
#include "tools/printable_text.h"
#include "tools/terminal.h"
#include "tools/watched_work.h"
#include "vhdx/raw_transfer.h"

namespace vhdxm::tools {
namespace {

class ExportCommand final : public Command {
 public:
  CommandText text() const override {
    return {.name = "export",
            .summary = "write a disk's content as a raw disk, to a file or to stdout",
            .description =
                "Writes what a guest would read. A file becomes sparse, and has its name only once "
                "it is complete; until then it is OUT.partial. An existing file is never "
                "overwritten. With - the content goes to stdout, and --json to stderr.",
            .examples = {
                {"vhdx-migrate export web01.vhdx web01.raw", "a sparse raw file"},
                {"vhdx-migrate export web01.vhdx - | sha256sum", "the content through a pipe"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("DISK", disk_, "a VHDX file");
    options.argument("OUT", out_, "the file to make, or - for stdout");
  }

  CommandResult run(CommandContext& context) override {
    const bool to_stdout = out_ == "-";
    if (to_stdout) {
      if (is_terminal(STDOUT_FILENO)) {
        return usage_failure("export: stdout is a terminal, and a disk's content is not text",
                             "Send it into a pipe or a file, or name OUT.");
      }
      context.console.give_stdout_to_data();
    }
    VHDXM_COMMAND_TRY(const auto source, vhdx::open_content(disk_, vhdx::ContentFormat::kVhdx));
    std::optional<WatchedWork> work;
    work.emplace(context, "exporting", disk_);
    if (auto failed = to_stdout ? to_stream(*source, *work) : to_file(*source, *work)) {
      work.reset();
      return std::move(*failed);
    }
    const auto elapsed = work->elapsed();
    work.reset();
    conclude(context.console, source->size_bytes(), elapsed);
    return ExitCode::kDone;
  }

 private:
  static std::optional<CommandFailure> to_stream(vhdx::ContentSource& source, WatchedWork& work) {
    auto result = vhdx::export_to_stream(source, STDOUT_FILENO, "standard output", work.watch());
    if (!result.has_error()) return std::nullopt;
    return work_failure(result.error(), "export: interrupted; what was written is incomplete");
  }

  std::optional<CommandFailure> to_file(vhdx::ContentSource& source, WatchedWork& work) const {
    auto target = NewFile::start(out_);
    if (target.has_error()) return target.error();
    auto result = vhdx::export_to_file(source, *target->file(), work.watch());
    if (!result.has_error()) result = target->commit();
    if (!result.has_error()) return std::nullopt;
    return work_failure(result.error(), fmt::format("export: interrupted, {} was not made", out_));
  }

  void conclude(Console& console, std::uint64_t bytes, std::chrono::milliseconds elapsed) const {
    if (console.json()) {
      boost::json::object fields;
      fields["command"] = "export";
      fields["disk"] = json_text(disk_);
      fields["out"] = json_text(out_);
      fields["virtual_bytes"] = bytes;
      fields["elapsed_ms"] = elapsed.count();
      console.object("done", fields);
      return;
    }
    console.talk(fmt::format("Wrote the content of {}, {}, to {} in {:.1f} s.", printable(disk_),
                             format_size(bytes), out_ == "-" ? "stdout" : printable(out_),
                             static_cast<double>(elapsed.count()) / 1000));
  }

  std::string disk_;
  std::string out_;
};

}  // namespace

std::unique_ptr<Command> make_export_command() {
  return std::make_unique<ExportCommand>();
}

}  // namespace vhdxm::tools
