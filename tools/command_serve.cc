// vhdx-migrate serve: a disk as a live NBD export, by nbdkit with our plugin.
#include <fmt/format.h>

#include <utility>

#include "base/size_text.h"
#include "migration/owner_check.h"
#include "tools/command_list.h"
#include "tools/json_output.h"
#include "tools/nbd_uri.h"
#include "tools/nbdkit_process.h"
#include "tools/printable_text.h"
#include "tools/socket_path.h"
#include "transfer/live_disk.h"

namespace vhdxm::tools {
namespace {

class ServeCommand final : public Command {
 public:
  CommandText text() const override {
    return {.name = "serve",
            .summary = "export a disk to a guest or a program, for reading and writing",
            .description =
                "Serves a disk, fixed, dynamic or differencing, as an NBD export on a Unix socket, "
                "until it is stopped: to QEMU, to the kernel's NBD client, to anything that speaks "
                "NBD. Any export name is the disk. Reads, writes, trims, zeroes, flushes and FUA; "
                "several connections at once; the map of the disk as extents.\n"
                "What a client flushed is there after a power loss or a kill -9: the next one who "
                "opens the disk replays its log. Ctrl-C or SIGTERM close it cleanly. While it is "
                "served, nobody else can write the disk, and `vhdx-migrate send` refuses it.\n"
                "The socket is there when clients can connect, and only its owner may.",
            .examples = {{"vhdx-migrate serve web01.vhdx --socket /run/web01.sock",
                          "for QEMU: -drive file=nbd+unix:///?socket=/run/web01.sock,format=raw"},
                         {"vhdx-migrate serve web01.vhdx --socket web01.sock --read-only",
                          "to look at it; the file is not touched"},
                         {"nbdcopy nbd+unix:///?socket=web01.sock web01.raw",
                          "a client of it: copy the disk"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("DISK", disk_, "a VHDX file");
    options.text("--socket", "PATH", socket_, "the Unix socket to make (needed)");
    options.flag("--read-only", read_only_, "refuse writes; do not touch the file");
  }

  CommandResult run(CommandContext& context) override {
    if (socket_.empty()) {
      return usage_failure("serve: --socket is missing",
                           "Say where clients connect, e.g. --socket /run/web01.sock.");
    }
    NbdkitProcess::Options options{.program = NbdkitProcess::find_program("nbdkit"),
                                   .plugin = NbdkitProcess::find_plugin(),
                                   .disk = disk_,
                                   .socket = {},
                                   .read_only = read_only_};
    if (const auto missing = what_is_missing(options)) return *missing;
    auto socket = SocketPath::claim(socket_);
    if (socket.has_error()) return socket.error();
    options.socket = socket->hidden();
    // Whatever is wrong with the disk is said here, in full, and before anything listens.
    VHDXM_COMMAND_TRY(const std::uint64_t size, try_disk());
    VHDXM_COMMAND_TRY(auto server, NbdkitProcess::start(options));
    return serve(context, *socket, server, size);
  }

 private:
  static std::optional<CommandFailure> what_is_missing(const NbdkitProcess::Options& options) {
    const auto failure = [](std::string message, std::string advice) {
      return CommandFailure{.message = std::move(message),
                            .advice = std::move(advice),
                            .exit = ExitCode::kFailed,
                            .ownership = {}};
    };
    if (options.program.empty()) {
      return failure("serve: the program nbdkit is not there",
                     "Install the package nbdkit (apt-get install nbdkit).");
    }
    if (options.plugin.empty()) {
      return failure("serve: nbdkit-vhdx-plugin.so is neither beside this program nor installed",
                     "Install VHDX Migrate again: cmake --install build/release.");
    }
    return std::nullopt;
  }

  /// Opens the disk as it will be served, and lets go of it. Its size, in bytes.
  Result<std::uint64_t> try_disk() const {
    if (!read_only_) VHDXM_TRY_VOID(migration::check_owner_record(disk_));
    VHDXM_TRY(const auto disk,
              transfer::LiveDisk::open(disk_, std::make_shared<transfer::SharedGate>(),
                                       {.read_only = read_only_}));
    VHDXM_TRY_VOID(disk->close());
    return disk->size_bytes();
  }

  CommandResult serve(CommandContext& context, SocketPath& socket, NbdkitProcess& server,
                      std::uint64_t size) const {
    NbdkitProcess::News news = server.wait_for_news(context.interrupt.fd());
    if (news == NbdkitProcess::News::kReady) {
      VHDXM_COMMAND_TRY_VOID(socket.show());
      announce(context.console, server, size);
      news = server.wait_for_news(context.interrupt.fd());
    }
    server.stop();
    return outcome(server.wait(), news);
  }

  CommandResult outcome(const NbdkitProcess::Ended& ended, NbdkitProcess::News news) const {
    if (ended.exit == 0 && ended.closed_disk) {
      const std::string message = fmt::format("serve: stopped; {} is closed", disk_);
      if (news == NbdkitProcess::News::kInterrupted) return interrupted(message);
      return ExitCode::kDone;  // somebody stopped nbdkit itself, as it is meant to be
    }
    const std::string how = ended.signal != 0 ? fmt::format("by signal {}", ended.signal)
                                              : fmt::format("with exit status {}", ended.exit);
    return CommandFailure{
        .message = fmt::format("serve: nbdkit ended {}, and did not close {}", how, disk_),
        .advice =
            "What it said stands above. Nothing that was flushed is lost: the next one who "
            "opens the disk replays its log.",
        .exit = ExitCode::kFailed,
        .ownership = {}};
  }

  void announce(Console& console, const NbdkitProcess& server, std::uint64_t size) const {
    const std::string uri = nbd_uri(socket_);
    if (console.json()) {
      boost::json::object fields;
      fields["disk"] = json_text(disk_);
      fields["socket"] = json_text(socket_);
      fields["uri"] = json_text(uri);
      fields["virtual_bytes"] = size;
      fields["read_only"] = read_only_;
      fields["server_pid"] = server.pid();
      console.object("serving", fields);
    } else {
      console.print(fmt::format("Serving {} ({}{}) at {}\n", printable(disk_), format_size(size),
                                read_only_ ? ", read-only" : "", printable(uri)));
    }
    console.flush();
  }

  std::string disk_;
  std::string socket_;
  bool read_only_ = false;
};

}  // namespace

std::unique_ptr<Command> make_serve_command() {
  return std::make_unique<ServeCommand>();
}

}  // namespace vhdxm::tools
