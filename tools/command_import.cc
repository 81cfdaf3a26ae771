// vhdx-migrate import: a disk from a raw file.
#include <fmt/format.h>

#include "base/size_text.h"
#include "tools/command_list.h"
#include "tools/geometry_options.h"
#include "tools/json_output.h"
#include "tools/new_file.h"
#include "tools/printable_text.h"
#include "tools/watched_work.h"
#include "vhdx/raw_transfer.h"

namespace vhdxm::tools {
namespace {

class ImportCommand final : public Command {
 public:
  CommandText text() const override {
    return {.name = "import",
            .summary = "make a disk from a raw disk",
            .description =
                "Makes a VHDX file with the content of a raw disk (a file or a block device), "
                "whose size is rounded up to whole sectors. Blocks that are all zero take no "
                "room, but in fixed disks. The raw disk is read twice and must not change "
                "meanwhile, so it cannot be a pipe.\n"
                "An existing file is never overwritten. The file has its name only once it is "
                "complete; until then it is DISK.partial.",
            .examples = {{"vhdx-migrate import web01.raw web01.vhdx", "a dynamic disk"},
                         {"vhdx-migrate import /dev/vg0/web01 web01.vhdx --fixed",
                          "a fixed disk from a block device"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("RAW", raw_, "a raw disk: a file or a block device");
    options.argument("DISK", disk_, "the file to make");
    geometry_.add_to(options);
  }

  CommandResult run(CommandContext& context) override {
    if (raw_ == "-") {
      return usage_failure("import: a pipe cannot be imported, because the disk is read twice",
                           "Write the stream into a file first, then import that.");
    }
    // Never by looking: a guest could make its first bytes look like a VHDX.
    VHDXM_COMMAND_TRY(const auto source, vhdx::open_content(raw_, vhdx::ContentFormat::kRaw));
    auto geometry = import_geometry(source->size_bytes());
    if (geometry.has_error()) return geometry.error();
    auto target = NewFile::start(disk_);
    if (target.has_error()) return target.error();
    vhdx::Description description;
    description.geometry = *geometry;

    std::optional<WatchedWork> work;
    work.emplace(context, "importing", raw_);
    const auto summary =
        vhdx::import_content(*source, target->file(), description, {}, work->watch());
    const auto elapsed = work->elapsed();
    work.reset();
    if (summary.has_error()) {
      return work_failure(summary.error(),
                          fmt::format("import: interrupted, {} was not made", disk_));
    }
    VHDXM_COMMAND_TRY_VOID(target->commit());
    conclude(context.console, *geometry, *summary, elapsed);
    return ExitCode::kDone;
  }

 private:
  boost::system::result<vhdx::Geometry, CommandFailure> import_geometry(
      std::uint64_t raw_bytes) const {
    if (raw_bytes == 0) {
      return usage_failure(fmt::format("{}: is empty, and a disk has at least one sector", raw_),
                           "Use `vhdx-migrate create` for an empty disk.");
    }
    if (raw_bytes > vhdx::kVirtualSizeMax) {
      return usage_failure(
          fmt::format("{}: has {} bytes, and a VHDX disk at most 64 TiB", raw_, raw_bytes),
          "Split it into several disks.");
    }
    // Sizes are in whole sectors; the sector size is known only with the other options.
    constexpr std::uint64_t kAnySector = 4096;
    const std::uint64_t rounded = (raw_bytes + kAnySector - 1) / kAnySector * kAnySector;
    auto geometry = geometry_.geometry(rounded);
    if (geometry.has_value()) {
      const std::uint64_t sector = geometry->logical_sector_bytes;
      geometry->virtual_size_bytes = (raw_bytes + sector - 1) / sector * sector;
    }
    return geometry;
  }

  void conclude(Console& console, const vhdx::Geometry& geometry,
                const vhdx::ImportSummary& summary, std::chrono::milliseconds elapsed) const {
    if (console.json()) {
      boost::json::object fields;
      fields["command"] = "import";
      fields["raw"] = json_text(raw_);
      fields["disk"] = json_text(disk_);
      add_json(geometry, fields);
      fields["blocks"] = summary.blocks;
      fields["present_blocks"] = summary.present_blocks;
      fields["written_bytes"] = summary.written_bytes;
      fields["elapsed_ms"] = elapsed.count();
      console.object("done", fields);
      return;
    }
    console.talk(fmt::format("Made {} from {}: {}; {} of {} blocks have content, in {:.1f} s.",
                             printable(disk_), printable(raw_), to_text(geometry),
                             summary.present_blocks, summary.blocks,
                             static_cast<double>(elapsed.count()) / 1000));
  }

  std::string raw_;
  std::string disk_;
  GeometryOptions geometry_;
};

}  // namespace

std::unique_ptr<Command> make_import_command() {
  return std::make_unique<ImportCommand>();
}

}  // namespace vhdxm::tools
