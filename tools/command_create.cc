// vhdx-migrate create: an empty disk.
#include <fmt/format.h>

#include "tools/command_list.h"
#include "tools/geometry_options.h"
#include "tools/json_output.h"
#include "tools/new_file.h"
#include "tools/printable_text.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/image.h"
#include "vhdx/parent_link.h"

namespace vhdxm::tools {
namespace {

class CreateCommand final : public Command {
 public:
  CommandText text() const override {
    return {.name = "create",
            .summary = "make an empty disk, or a differencing disk over a parent",
            .description =
                "Makes a VHDX file with Hyper-V's defaults: dynamic, blocks of 32 MiB, sectors of "
                "512 bytes on 4096. With --parent it is a differencing disk, which shows its "
                "parent until it is written to; the parent must not be changed from then on.\n"
                "An existing file is never overwritten. The file has its name only once it is "
                "complete; until then it is DISK.partial.",
            .examples = {{"vhdx-migrate create web01.vhdx --size 40G", "a dynamic disk"},
                         {"vhdx-migrate create db.vhdx --size 1T --fixed --logical-sector 4096",
                          "a fixed disk with 4 KiB sectors"},
                         {"vhdx-migrate create child.avhdx --parent web01.vhdx",
                          "a differencing disk, as large as its parent"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("DISK", disk_, "the file to make");
    options.size("--size", size_, "how large the disk is; needed unless there is a parent");
    options.text("--parent", "FILE", parent_, "make a differencing disk over this one");
    geometry_.add_to(options);
  }

  CommandResult run(CommandContext& context) override {
    auto described = parent_.empty() ? describe_alone() : describe_child();
    if (described.has_error()) return described.error();
    const vhdx::Description& description = *described;
    auto target = NewFile::start(disk_);
    if (target.has_error()) return target.error();
    VHDXM_COMMAND_TRY_VOID(vhdx::create(target->file(), description));
    if (context.interrupt.requested()) return interrupted("create: interrupted, nothing was made");
    VHDXM_COMMAND_TRY_VOID(target->commit());
    if (context.console.json()) {
      boost::json::object fields;
      fields["command"] = "create";
      fields["disk"] = json_text(disk_);
      add_json(description.geometry, fields);
      if (!parent_.empty()) fields["parent"] = json_text(parent_);
      context.console.object("done", fields);
    } else {
      context.console.talk(fmt::format("Made {}: {}{}.", printable(disk_),
                                       to_text(description.geometry),
                                       parent_.empty() ? "" : ", over " + printable(parent_)));
    }
    return ExitCode::kDone;
  }

 private:
  using DescriptionResult = boost::system::result<vhdx::Description, CommandFailure>;

  DescriptionResult describe_alone() const {
    if (!size_) {
      return usage_failure("create: --size is missing",
                           "Say how large the disk is, e.g. --size 8G, or name a --parent.");
    }
    auto geometry = geometry_.geometry(*size_);
    if (geometry.has_error()) return geometry.error();
    vhdx::Description description;
    description.geometry = *geometry;
    return description;
  }

  DescriptionResult describe_child() const {
    // The whole chain is opened: a child over a broken one would be of no use.
    auto parent = vhdx::Image::open(parent_);
    if (parent.has_error()) return failure_of(parent.error());
    const vhdx::Description& above = (*parent)->layers().front()->description();
    auto geometry = geometry_.child_geometry(size_, above.geometry);
    if (geometry.has_error()) return geometry.error();
    auto locator = vhdx::make_parent_locator(parent_, disk_, above.data_write_guid);
    if (locator.has_error()) return failure_of(locator.error());
    vhdx::Description description;
    description.geometry = *geometry;
    description.virtual_disk_id = above.virtual_disk_id;
    description.parent = std::move(*locator);
    return description;
  }

  std::string disk_;
  std::string parent_;
  std::optional<std::uint64_t> size_;
  GeometryOptions geometry_;
};

}  // namespace

std::unique_ptr<Command> make_create_command() {
  return std::make_unique<CreateCommand>();
}

}  // namespace vhdxm::tools
