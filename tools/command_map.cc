// vhdx-migrate map: which part of a disk is where.
#include <fmt/format.h>

#include <optional>

#include "base/size_text.h"
#include "tools/command_list.h"
#include "tools/json_output.h"
#include "tools/printable_text.h"
#include "vhdx/image.h"

namespace vhdxm::tools {
namespace {

using vhdx::Extent;
using vhdx::ExtentKind;

const char* kind_name(ExtentKind kind) {
  switch (kind) {
    case ExtentKind::kData:
      return "data";
    case ExtentKind::kZero:
      return "zero";
    case ExtentKind::kUnmapped:
      return "unmapped";
    case ExtentKind::kParent:
      return "parent";
  }
  return "unknown";
}

/// Whether `next` goes on where `run` ends, in the disk and in the file.
bool continues(const Extent& run, const Extent& next) {
  return run.kind == next.kind && run.file == next.file &&
         (run.kind != ExtentKind::kData || run.file_offset + run.length == next.file_offset);
}

/// Prints runs one after another, and counts them.
class MapPrinter {
 public:
  MapPrinter(Console& console, const vhdx::Image& image) : console_(console), image_(image) {
    if (!console_.json()) {
      console_.print(fmt::format("{:>16} {:>16}  {:<8} {:>5} {:>16}  {}\n", "start", "length",
                                 "kind", "layer", "file offset", "file"));
    }
  }

  void add(const Extent& extent) {
    if (run_ && continues(*run_, extent)) {
      run_->length += extent.length;
      return;
    }
    show();
    run_ = extent;
  }

  void finish() {
    show();
    run_.reset();
    if (!console_.json()) return;
    boost::json::object fields;
    fields["extents"] = extents_;
    fields["virtual_bytes"] = image_.virtual_size_bytes();
    fields["data_bytes"] = bytes_[static_cast<std::size_t>(ExtentKind::kData)];
    fields["zero_bytes"] = bytes_[static_cast<std::size_t>(ExtentKind::kZero)];
    fields["unmapped_bytes"] = bytes_[static_cast<std::size_t>(ExtentKind::kUnmapped)];
    fields["parent_bytes"] = bytes_[static_cast<std::size_t>(ExtentKind::kParent)];
    console_.object("map", fields);
  }

 private:
  void show() {
    if (!run_) return;
    ++extents_;
    bytes_.at(static_cast<std::size_t>(run_->kind)) += run_->length;
    if (console_.json()) {
      show_json();
    } else {
      show_text();
    }
  }

  void show_text() {
    std::string line =
        fmt::format("{:>16} {:>16}  {}", run_->virtual_offset, run_->length, kind_name(run_->kind));
    if (run_->kind == ExtentKind::kData) {
      line += fmt::format("{:>{}} {:>16}  {}", depth(), 14 - std::string_view("data").size(),
                          run_->file_offset, printable(run_->file->name()));
    }
    console_.print(line + "\n");
  }

  void show_json() {
    boost::json::object fields;
    fields["start"] = run_->virtual_offset;
    fields["length"] = run_->length;
    fields["kind"] = kind_name(run_->kind);
    if (run_->kind == ExtentKind::kData) {
      fields["depth"] = depth();
      fields["file"] = json_text(run_->file->name());
      fields["offset"] = run_->file_offset;
    }
    console_.object("extent", fields);
  }

  /// 0 is the disk itself, 1 its parent, and so on.
  std::size_t depth() const {
    const auto& layers = image_.layers();
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (&layers[i]->file() == run_->file) return i;
    }
    return layers.size();
  }

  Console& console_;
  const vhdx::Image& image_;
  std::optional<Extent> run_;
  std::uint64_t extents_ = 0;
  std::array<std::uint64_t, 5> bytes_{};  ///< By ExtentKind.
};

class MapCommand final : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "map",
        .summary = "show which part of a disk is where",
        .description =
            "Prints the disk's runs in order, without gaps: data (with its place in a file), "
            "zero, unmapped (never written, or trimmed), and with --no-parents also parent "
            "(the parent's content shows). All numbers are bytes.",
        .examples = {{"vhdx-migrate map web01.vhdx", "for a person"},
                     {"vhdx-migrate map web01.vhdx --json", "one object for each run"},
                     {"vhdx-migrate map child.avhdx --no-parents", "what the child itself holds"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("DISK", disk_, "a VHDX file");
    options.flag("--no-parents", no_parents_, "map the file alone, without its parents");
  }

  CommandResult run(CommandContext& context) override {
    VHDXM_COMMAND_TRY(const auto image, vhdx::Image::open(disk_, {.leaf_only = no_parents_}));
    MapPrinter printer(context.console, *image);
    const std::uint64_t size = image->virtual_size_bytes();
    std::vector<Extent> extents;
    for (std::uint64_t offset = 0; offset < size;) {
      if (context.interrupt.requested()) return interrupted("map: interrupted");
      if (context.console.output_errno() != 0) break;
      extents.clear();
      VHDXM_COMMAND_TRY(offset, image->map(offset, size - offset, extents));
      for (const Extent& extent : extents) printer.add(extent);
    }
    printer.finish();
    return ExitCode::kDone;
  }

 private:
  std::string disk_;
  bool no_parents_ = false;
};

}  // namespace

std::unique_ptr<Command> make_map_command() {
  return std::make_unique<MapCommand>();
}

}  // namespace vhdxm::tools
