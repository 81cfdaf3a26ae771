// vhdx-migrate send: a disk, with its parents, to a receiver on another host.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <optional>

#include "base/directory.h"
#include "base/size_text.h"
#include "tools/command_list.h"
#include "tools/endpoint.h"
#include "tools/json_output.h"
#include "tools/key_prompt.h"
#include "tools/printable_text.h"
#include "tools/send_summary.h"
#include "transfer/messages.h"
#include "transfer/sender.h"
#include "vhdx/image.h"

namespace vhdxm::tools {
namespace {

/// Below this a limit is most likely a missing unit: --limit 400 for 400M. Bytes a second.
constexpr std::uint64_t kLimitMin = 10 * 1024 * 1024;

class SendCommand final : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "send",
        .summary = "send a disk, with its parents, to another host",
        .description =
            "Sends a VHDX disk that nobody writes to meanwhile to a host where `vhdx-migrate "
            "receive` waits. Only what the disk holds is read and sent; everything is encrypted, "
            "hashed, and proved to be complete before the disk gets its name there. The source is "
            "copied: it stays the owner, and is not changed by a byte.\n"
            "Without --key-file the key that the receiver shows is asked for at the terminal. A "
            "key is never given on the command line.",
        .examples = {
            {"vhdx-migrate send web01.vhdx newhost", "asks for the key that newhost shows"},
            {"vhdx-migrate send web01.vhdx newhost:7000 --key-file pair.key --limit 400M",
             "with a key file, at most 400 MiB a second"},
            {"vhdx-migrate send db.vhdx [2001:db8::7]:6600 --key-file pair.key --verify",
             "and read both sides again before the disk gets its name"},
            {"vhdx-migrate send child.avhdx newhost --flatten --as web01.vhdx",
             "a chain, as one disk that needs no parents"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("DISK", disk_, "a VHDX file; parents of a differencing disk go with it");
    options.argument("HOST", host_, "HOST, HOST:PORT or [ADDRESS]:PORT; port 6600 unless told");
    options.text("--key-file", "FILE", key_file_, "a copy of the receiver's key file");
    options.text("--as", "NAME", name_, "the disk's name at the destination");
    options.flag("--flatten", flatten_,
                 "send a differencing disk and its parents as one dynamic disk");
    options.number("--streams", streams_, 1, transfer::kStreamsMax,
                   fmt::format("data streams; {} unless told", transfer::kDefaultStreams));
    options.size("--limit", limit_, "at most so many bytes a second on the wire, 10M or more");
    options.size("--memory", memory_, "for buffers; 64M unless told");
    options.flag("--verify", verify_, "read both sides again before the disk gets its name");
    options.flag("--plaintext-data", plaintext_data_,
                 "do not encrypt the data; the receiver must say so too");
    options.choice("--mode", mode_, {"plain"}, "how data is sent; this version does not compress",
                   "compression is not in this version");
  }

  CommandResult run(CommandContext& context) override {
    CommandResult result = run_job(context);
    if (result.has_value()) return result;
    CommandFailure failure = result.error();
    failure.ownership = fmt::format("The source still owns {}; it was not changed.", disk_);
    return failure;
  }

 private:
  CommandResult run_job(CommandContext& context) {
    const auto endpoint = parse_endpoint(host_);
    if (!endpoint) {
      return usage_failure(
          fmt::format("HOST: '{}' is not HOST, HOST:PORT or [ADDRESS]:PORT", host_),
          "For example newhost, newhost:6600, 10.0.0.5 or [2001:db8::7]:6600.");
    }
    if (endpoint->port == std::uint16_t{0}) {
      return usage_failure("HOST: port 0 cannot be connected to",
                           "Take the port that `vhdx-migrate receive` shows in its first line.");
    }
    if (limit_ && *limit_ < kLimitMin) {
      return usage_failure(
          fmt::format("--limit: {} a second is less than 10M", format_size(*limit_)),
          "Limits are in bytes a second and take units: --limit 400M.");
    }
    if (!name_.empty() && !Directory::is_plain_name(name_)) {
      return usage_failure(fmt::format("--as: '{}' is not a plain file name", name_),
                           "Give a name without folders: the receiver chooses the folder.");
    }
    // Before anybody is asked for a key: whether there is a disk to send at all.
    if (auto image = vhdx::Image::open(disk_); image.has_error()) return failure_of(image.error());
    auto key = key_file_.empty() ? key_from_terminal(context.interrupt) : key_from_file(key_file_);
    if (key.has_error()) return key.error();
    return transfer_disk(context, *endpoint, *key);
  }

  CommandResult transfer_disk(CommandContext& context, const Endpoint& endpoint,
                              const transfer::PairingKey& key) {
    std::atomic<unsigned> streams_most = 0;
    std::optional<ProgressDisplay> display;
    display.emplace(context.console, context.progress, /*quiet_start=*/false);
    transfer::Sender sender({.disk_path = disk_,
                             .host = endpoint.host,
                             .port = endpoint.port.value_or(transfer::kDefaultPort),
                             .key = key,
                             .name = name_,
                             .streams = streams_.value_or(0),
                             .limit_bytes_per_second = limit_.value_or(0),
                             .memory_bytes = memory_.value_or(transfer::kDefaultMemoryBytes),
                             .flatten = flatten_,
                             .verify = verify_,
                             .plaintext_data = plaintext_data_},
                            [&](const transfer::Progress& progress) {
                              streams_most = std::max(streams_most.load(), progress.streams);
                              display->post(sample_of(progress));
                            });
    transfer::SendResult result = [&] {
      const OnRequest cancel(context.interrupt, [&] { sender.cancel(); });
      return sender.run();
    }();
    display.reset();
    if (result.has_error()) return failure(context, result.error());
    const SendOutcome outcome{.report = std::move(*result), .host = host_, .streams = streams_most};
    if (context.console.json()) {
      context.console.object("done", summary_json(outcome));
    } else {
      context.console.talk(summary_text(outcome));
    }
    return ExitCode::kDone;
  }

  static CommandFailure failure(const CommandContext& context, const transfer::Failure& failure) {
    if (context.interrupt.requested() &&
        failure.failure_class == transfer::FailureClass::kCancelled) {
      return interrupted("send: interrupted; the destination was told to remove what it has",
                         "Run the same command again to send the disk.");
    }
    return failure_of(failure);
  }

  std::string disk_;
  std::string host_;
  std::string key_file_;
  std::string name_;
  std::string mode_ = "plain";
  std::optional<unsigned> streams_;
  std::optional<std::uint64_t> limit_;
  std::optional<std::uint64_t> memory_;
  bool flatten_ = false;
  bool verify_ = false;
  bool plaintext_data_ = false;
};

}  // namespace

std::unique_ptr<Command> make_send_command() {
  return std::make_unique<SendCommand>();
}

}  // namespace vhdxm::tools
