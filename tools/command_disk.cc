// vhdx-migrate disk: the disks that this host's service exports.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <filesystem>

#include "base/size_text.h"
#include "tools/command_list.h"
#include "tools/control_client.h"
#include "tools/http_message.h"
#include "tools/json_output.h"
#include "tools/mover_client.h"
#include "tools/printable_text.h"

namespace vhdxm::tools {
namespace {

namespace json = boost::json;

class DiskCommand final : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "disk",
        .summary = "add, remove or list the disks that this host's service exports",
        .description =
            "`disk add NAME PATH` has the host service (vhdx-migrated) export a disk, under a name "
            "of this host, as an NBD export on a Unix socket; now, and whenever the service is "
            "started. A process of its own holds the disk: neither the end of the service nor its "
            "upgrade disturbs who uses it.\n"
            "Disks that are added with the same --group, those of a virtual machine, have one such "
            "process in common, and move together (`move --group`). Clients ask for a disk of a "
            "group by its name, as the export's: `disk add` shows the URI.\n"
            "`disk remove NAME` closes the disk and forgets the name; the file stays. It refuses "
            "while clients use the disk, unless --force is said.\n"
            "`disk list` shows all.",
        .examples = {{"vhdx-migrate disk add web01 /srv/disks/web01.vhdx",
                      "shows the socket that guests connect to"},
                     {"vhdx-migrate disk add web01-data /srv/disks/data.vhdx --group web01",
                      "one of the disks that move together"},
                     {"vhdx-migrate disk list", "what there is, and who uses it"},
                     {"vhdx-migrate disk remove web01", "when the guest has stopped"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("ACTION", action_, "add, remove or list");
    options.optional_argument("NAME", name_, "of the disk, for add and remove");
    options.optional_argument("PATH", path_, "of the VHDX file, for add");
    options.flag("--read-only", read_only_, "add: refuse writes; do not touch the file");
    options.text("--group", "GROUP", group_, "add: of the disks that move together");
    options.flag("--force", force_, "remove: even if clients use the disk");
    add_control_option(options, control_);
  }

  CommandResult run(CommandContext& context) override {
    if (action_ == "list" && name_.empty()) return list(context.console);
    if (action_ == "add" && !path_.empty()) return add(context.console);
    if (action_ == "remove" && !name_.empty() && path_.empty()) return remove(context.console);
    return usage_failure("disk: this is none of add NAME PATH, remove NAME and list",
                         "Run `vhdx-migrate disk --help` for examples.");
  }

 private:
  CommandResult list(Console& console) const {
    const auto reply = ControlClient(control_).ask("GET", "/v1/disks");
    if (reply.has_error()) return reply.error();
    const json::value* disks = reply->if_contains("disks");
    if (disks == nullptr || !disks->is_array()) return ExitCode::kDone;
    for (const json::value& one : disks->as_array()) {
      if (one.is_object()) show(console, "disk", one.as_object());
    }
    if (disks->as_array().empty() && !console.json()) console.talk("no disk is registered");
    return ExitCode::kDone;
  }

  CommandResult add(Console& console) const {
    json::object wish;
    wish["name"] = json_text(name_);
    wish["path"] = json_text(std::filesystem::absolute(path_).lexically_normal().string());
    wish["read_only"] = read_only_;
    if (!group_.empty()) wish["group"] = json_text(group_);
    const auto reply = ControlClient(control_).ask("POST", "/v1/disks", wish);
    if (reply.has_error()) return reply.error();
    show(console, "disk_added", *reply);
    return ExitCode::kDone;
  }

  CommandResult remove(Console& console) const {
    const auto reply = ControlClient(control_).ask(
        "DELETE", "/v1/disks/" + percent_encoded(name_) + (force_ ? "?force=true" : ""));
    if (reply.has_error()) return reply.error();
    if (console.json()) {
      console.object("disk_removed", *reply);
    } else {
      console.print(fmt::format("{} is closed and not exported any more; {} stays where it is\n",
                                printable(name_), printable(text_of(*reply, "path"))));
    }
    return ExitCode::kDone;
  }

  static void show(Console& console, const char* type, const json::object& disk) {
    if (console.json()) {
      console.object(type, disk);
      return;
    }
    const std::string state = text_of(disk, "state");
    std::string how = state;
    if (state == "exported") {
      how = fmt::format("{}, {} client{}", format_size(number_of(disk, "virtual_bytes")),
                        number_of(disk, "clients"), number_of(disk, "clients") == 1 ? "" : "s");
    } else if (disk.contains("problem")) {
      how += ": " + text_of(disk, "problem");
    }
    if (disk.contains("group")) how += ", group " + text_of(disk, "group");
    if (disk.contains("job")) how += ", moved by job " + text_of(disk, "job");
    const json::value* read_only = disk.if_contains("read_only");
    if (read_only != nullptr && *read_only == json::value(true)) how += ", read-only";
    console.print(fmt::format("{}  {}  ({})\n    {}\n", printable(text_of(disk, "name")),
                              printable(text_of(disk, "path")), printable(how),
                              printable(text_of(disk, "uri"))));
  }

  std::string action_;
  std::string name_;
  std::string path_;
  std::string group_;
  std::string control_ = kControlSocket;
  bool read_only_ = false;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_disk_command() {
  return std::make_unique<DiskCommand>();
}

}  // namespace vhdxm::tools
