// vhdx-migrate move: a disk to another host, by this host's service.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <filesystem>
#include <optional>
#include <vector>

#include "migration/disk_registry.h"
#include "migration/service_job.h"
#include "tools/command_list.h"
#include "tools/control_client.h"
#include "tools/job_follower.h"
#include "tools/json_output.h"
#include "tools/mover_client.h"
#include "tools/printable_text.h"
#include "transfer/messages.h"
#include "transfer/sender.h"

namespace vhdxm::tools {
namespace {

constexpr const char* kPlaceAdvice =
    "For example --map web01=web01-new.vhdx, --map web01=fast/web01.vhdx for the storage folder "
    "`fast` of the other host's settings, or --map web01=fast/ for the same with its own name.";

CommandFailure no_place(const std::string& option) {
  return usage_failure(
      fmt::format("move: {}: no file name, alone or behind the name of one folder", option),
      kPlaceAdvice);
}

class MoveCommand final : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "move",
        .summary = "have the host service move disks to another host",
        .description =
            "Gives the host service (vhdx-migrated) a job: to move a disk to a host whose service "
            "takes it. The job goes on when this command ends, by Ctrl-C too, and when the service "
            "ends. `status`, `watch`, `set`, `pause`, `resume` and `cancel` are for it.\n"
            "The disk's ownership moves with it: afterwards exactly one host owns the disk, the "
            "other one, and exports it; what stays here is a copy that nobody can write to. "
            "(`send` copies, and changes nothing here.)\n"
            "Clients may use the disk meanwhile, and may come and go. When what is left to send "
            "fits the pause that is allowed, writes wait, both hosts write down that the other "
            "one owns the disk, and from then on writes are refused here (EPERM; reads go on). "
            "If nobody uses it, nobody waits. With --after forward clients that cannot be moved go "
            "on: what they ask for is done by the other host.\n"
            "The disks of a group (`disk add --group`) move together, in one job, and change hands "
            "at the same instant: name all of them, or the group.\n"
            "Disks are registered first (`disk add`); read-only and differencing ones cannot "
            "move. The disk arrives in the folder that the other host's settings name; where they "
            "name several (`[folders]`), --map DISK=FOLDER/NAME.vhdx, or DISK=FOLDER/, chooses "
            "one.",
        .examples = {
            {"vhdx-migrate move web01 --to newhost", "a registered disk; shows how far it is"},
            {"vhdx-migrate move /srv/disks/db.vhdx --to newhost --limit 400M --detach",
             "the registered disk of that file; says the job's ID and ends"},
            {"vhdx-migrate move --group web01 --to newhost --map data=web01-data.vhdx",
             "all disks of a group, one of them under another name there"},
            {"vhdx-migrate move --group web01 --to newhost --map data=bulk/ --map web01=fast/",
             "each into another of the other host's storage folders"},
            {"vhdx-migrate move web01 --to newhost --max-pause 20ms",
             "while a guest uses it, which waits for 20 ms at most until the hand-over"},
            {"vhdx-migrate move web01 --to newhost --after forward",
             "clients here go on with the disk there, until one there writes"},
            {"vhdx-migrate move web01 --to newhost --id web01-2026", "run twice, it is one job"}}};
  }

  void add_options(OptionSet& options) override {
    options.arguments("DISK", disks_,
                      "the names of registered disks, all of one group, or the path of one's file");
    options.text("--group", "GROUP", group_, "all disks of that group");
    options.text("--to", "HOST", host_,
                 "a peer of the service's settings, or HOST, HOST:PORT or [ADDRESS]:PORT (needed)");
    options.text("--key-file", "FILE", key_file_,
                 "the pairing key; the one of the service's settings unless told");
    options.text("--as", "[FOLDER/]NAME", name_,
                 "the file's name at the destination, and its storage folder there, of one disk");
    options.texts("--map", "DISK=[FOLDER/]NAME", maps_, "the same by the disk; once for each");
    options.choice("--mode", mode_, {"auto", "plain", "compress"},
                   "how data travels; as the service's settings say unless told");
    options.number("--streams", streams_, 1, transfer::kStreamsMax,
                   fmt::format("data streams; {} unless told", transfer::kDefaultStreams));
    options.size("--limit", limit_, "at most so many bytes a second on the wire, 64K or more");
    options.time("--max-pause", max_pause_ms_, migration::ServiceJob::kMaxPauseMsMax,
                 "how long writes may wait until the hand-over; unless told 300ms, or 60s while "
                 "nobody uses the disk");
    options.choice("--cutover", cutover_, {"auto", "manual"},
                   "hand over as soon as it fits the pause, or when `cutover` says so");
    options.choice("--mirror", mirror_, {"auto", "always", "never"},
                   "acknowledge writes when both hosts have them: when nothing else lets a disk "
                   "that is written faster than it is sent converge, from the second pass on, or "
                   "not at all");
    options.choice("--after", after_, {"fence", "forward"},
                   "what becomes of clients that stay connected here: their writes are refused, or "
                   "all they ask for goes to the other host, until a client there writes");
    options.flag("--verify", verify_,
                 "both hosts read again what was copied and compare, before anything is handed "
                 "over; what is written meanwhile is left out");
    options.text("--id", "ID", id_, "the job's name: one that is there already is that job");
    options.flag("--detach", detach_, "do not wait for the end");
    add_control_option(options, control_);
  }

  CommandResult run(CommandContext& context) override {
    if (host_.empty()) {
      return usage_failure("move: --to is missing", "Say where to, e.g. --to newhost.");
    }
    if (disks_.empty() == group_.empty()) {
      return usage_failure("move: what is to move is not clear: name disks, or --group",
                           "For example `vhdx-migrate move web01 --to newhost`.");
    }
    if (!name_.empty() && !migration::PlaceThere::parse(name_)) return no_place("--as " + name_);
    boost::json::object body = wish();
    if (!maps_.empty()) {
      boost::json::object names;
      for (const std::string& map : maps_) {
        const auto equals = map.find('=');
        const std::string disk = map.substr(0, equals);
        const bool is_one = equals != std::string::npos && migration::is_disk_name(disk);
        if (!is_one || names.contains(disk)) {
          return usage_failure(
              fmt::format("move: --map {}: not DISK=NAME, or that disk has a name already", map),
              kPlaceAdvice);
        }
        const std::string place = map.substr(equals + 1);
        if (!migration::PlaceThere::parse(place)) return no_place("--map " + map);
        names[disk] = json_text(place);
      }
      body["map"] = std::move(names);
    }
    const ControlClient client(control_);
    const auto job = client.ask("POST", "/v1/jobs", body);
    if (job.has_error()) return job.error();
    const std::string id = text_of(*job, "id");
    if (context.console.json()) {
      context.console.object("job", *job);
      context.console.flush();
    } else if (detach_) {
      context.console.print(printable(id) + "\n");
    } else {
      context.console.talk(fmt::format("job {}", printable(id)));
    }
    if (detach_) return ExitCode::kDone;
    return follow_job(context, client, id);
  }

 private:
  boost::json::object wish() const {
    boost::json::object wish;
    if (!group_.empty()) {
      wish["group"] = json_text(group_);
    } else if (disks_.size() == 1) {
      const std::string& disk = disks_.front();
      std::error_code ignored;
      // A name has no '/'; a file of this folder may be meant by its name alone.
      const bool is_path =
          disk.find('/') != std::string::npos ||
          (disk.find('.') != std::string::npos && std::filesystem::exists(disk, ignored));
      if (is_path) {
        wish["path"] = json_text(std::filesystem::absolute(disk).lexically_normal().string());
      } else {
        wish["disk"] = json_text(disk);
      }
    } else {
      boost::json::array disks;
      for (const std::string& disk : disks_) disks.push_back(json_text(disk));
      wish["disks"] = std::move(disks);
    }
    wish["to"] = json_text(host_);
    if (!key_file_.empty()) {
      wish["key_file"] =
          json_text(std::filesystem::absolute(key_file_).lexically_normal().string());
    }
    if (!name_.empty()) wish["as"] = json_text(name_);
    if (!mode_.empty()) wish["mode"] = mode_;
    if (streams_) wish["streams"] = *streams_;
    if (limit_) wish["limit"] = *limit_;
    if (max_pause_ms_) wish["max_pause_ms"] = *max_pause_ms_;
    if (!cutover_.empty()) wish["cutover"] = cutover_;
    if (!mirror_.empty()) wish["mirror"] = mirror_;
    if (!after_.empty()) wish["after"] = after_;
    if (verify_) wish["verify"] = true;
    if (!id_.empty()) wish["id"] = json_text(id_);
    return wish;
  }

  std::vector<std::string> disks_;
  std::string group_;
  std::vector<std::string> maps_;
  std::string host_;
  std::string key_file_;
  std::string name_;
  std::string mode_;
  std::string id_;
  std::string control_ = kControlSocket;
  std::optional<unsigned> streams_;
  std::optional<std::uint64_t> limit_;
  bool detach_ = false;
  std::optional<std::uint64_t> max_pause_ms_;
  std::string cutover_;
  std::string mirror_;
  std::string after_;
  bool verify_ = false;
};

}  // namespace

std::unique_ptr<Command> make_move_command() {
  return std::make_unique<MoveCommand>();
}

}  // namespace vhdxm::tools
