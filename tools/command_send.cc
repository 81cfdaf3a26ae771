// vhdx-migrate send: a disk, with its parents, to a receiver on another host.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <optional>

#include "base/directory.h"
#include "base/size_text.h"
#include "compression/compressor.h"
#include "migration/service_job.h"
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

transfer::Mode mode_from(const std::string& name) {
  for (const transfer::Mode mode : {transfer::Mode::kPlain, transfer::Mode::kCompress}) {
    if (name == transfer::to_string(mode)) return mode;
  }
  return transfer::Mode::kAuto;
}

/// Below this a limit is most likely a missing unit: --limit 400 for 400M. Bytes a second.
constexpr std::uint64_t kLimitMin = 64 * 1024;

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
            "A send that was interrupted, by whatever, resumes when it is run again: what is at "
            "the destination is compared by its hashes, and only what differs is sent.\n"
            "Without --key-file the key that the receiver shows is asked for at the terminal. A "
            "key is never given on the command line.",
        .examples = {
            {"vhdx-migrate send web01.vhdx newhost", "asks for the key that newhost shows"},
            {"vhdx-migrate send web01.vhdx newhost:7000 --key-file pair.key --limit 400M",
             "with a key file, at most 400 MiB a second"},
            {"vhdx-migrate send db.vhdx [2001:db8::7]:6600 --key-file pair.key --verify",
             "and read both sides again before the disk gets its name"},
            {"vhdx-migrate send web02.vhdx newhost --key-file pair.key --seed-from web01.vhdx",
             "what newhost's web01.vhdx has in common with it is copied there, not sent"},
            {"vhdx-migrate send child.avhdx newhost --flatten --as web01.vhdx",
             "a chain, as one disk that needs no parents"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("DISK", disk_, "a VHDX file; parents of a differencing disk go with it");
    options.argument("HOST", host_, "HOST, HOST:PORT or [ADDRESS]:PORT; port 6600 unless told");
    options.text("--key-file", "FILE", key_file_, "a copy of the receiver's key file");
    options.text(
        "--as", "[FOLDER/]NAME", name_,
        "the disk's name at the destination, and its storage folder there, if it has several");
    options.flag("--flatten", flatten_,
                 "send a differencing disk and its parents as one dynamic disk");
    options.number("--streams", streams_, 1, transfer::kStreamsMax,
                   fmt::format("data streams; {} unless told", transfer::kDefaultStreams));
    options.size("--limit", limit_, "at most so many bytes a second on the wire, 64K or more");
    options.size("--memory", memory_, "for buffers; 64M unless told");
    options.text("--seed-from", "NAME", seed_from_,
                 "a disk in the destination's folder, e.g. an older copy or a template, to take "
                 "what is the same from");
    options.flag("--verify", verify_, "read both sides again before the disk gets its name");
    options.flag("--plaintext-data", plaintext_data_,
                 "do not encrypt the data; the receiver must say so too");
    options.choice("--mode", mode_, {"auto", "plain", "compress"},
                   "auto compresses where the network is the bottleneck, as hard as there is "
                   "processor time for; auto unless told");
    options.number("--level", level_, compression::kLevelMin, compression::kLevelMax,
                   fmt::format("of zstd, for --mode compress, not 0; {} unless told",
                               transfer::kDefaultLevel));
    options.number("--cpu-share", cpu_share_, 1, 100,
                   "percent of this host's processors that compression may take; what does not "
                   "fit goes uncompressed; 100 unless told");
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
          fmt::format("--limit: {} a second is less than 64K", format_size(*limit_)),
          "Limits are in bytes a second and take units: --limit 400M.");
    }
    if (level_ && mode_ != "compress") {
      return usage_failure(fmt::format("--level: only of use with --mode compress, not {}", mode_),
                           "Auto chooses levels itself.");
    }
    if (level_ == 0) {
      return usage_failure("--level: 0 is no level", "Levels are -7 to -1 (fast) and 1 to 12.");
    }
    if (!name_.empty()) {
      const auto place = migration::PlaceThere::parse(name_);
      if (!place) {
        return usage_failure(
            fmt::format("--as: '{}' is not a plain file name, alone or behind the name of a folder",
                        name_),
            "For example --as web01.vhdx, --as fast/web01.vhdx for the receiver's folder `fast`, "
            "or --as fast/: the receiver chooses where its folders are.");
      }
      place_ = *place;
    }
    if (!seed_from_.empty() && !Directory::is_plain_name(seed_from_)) {
      return usage_failure(fmt::format("--seed-from: '{}' is not a plain file name", seed_from_),
                           "Give the name of a disk in the receiver's folder, without folders.");
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
    std::uint64_t resumed_told = 0;
    std::uint32_t replaced_told = 0;
    std::optional<ProgressDisplay> display;
    display.emplace(context.console, context.progress, /*quiet_start=*/false);
    transfer::Sender sender({.disk_path = disk_,
                             .host = endpoint.host,
                             .port = endpoint.port.value_or(transfer::kDefaultPort),
                             .key = key,
                             .name = place_.name,
                             .folder = place_.folder,
                             .streams = streams_.value_or(0),
                             .limit_bytes_per_second = limit_.value_or(0),
                             .memory_bytes = memory_.value_or(transfer::kDefaultMemoryBytes),
                             .mode = mode_from(mode_),
                             .level = level_.value_or(transfer::kDefaultLevel),
                             .cpu_share_percent = cpu_share_.value_or(100),
                             .seed_from = seed_from_,
                             .flatten = flatten_,
                             .verify = verify_,
                             .plaintext_data = plaintext_data_},
                            [&](const transfer::Progress& progress) {
                              streams_most = std::max(streams_most.load(), progress.streams);
                              if (progress.resumed_bytes > resumed_told) {
                                tell_resumed(context.console, progress, resumed_told);
                                resumed_told = progress.resumed_bytes;
                              }
                              if (progress.partials_replaced > replaced_told) {
                                tell_replaced(context.console, progress);
                                replaced_told = progress.partials_replaced;
                              }
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
      return interrupted("send: interrupted; the destination keeps what it has of the disk",
                         "Run the same command again: it resumes.");
    }
    return failure_of(failure);
  }

  /// `before`: of the disks that came before this one.
  static void tell_resumed(Console& console, const transfer::Progress& progress,
                           std::uint64_t before) {
    const std::uint64_t bytes = progress.resumed_bytes - before;
    if (console.json()) {
      boost::json::object fields;
      fields["disk"] = json_text(progress.disk);
      fields["resumed_bytes"] = bytes;
      fields["bytes_total"] = progress.bytes_total;
      console.object("resuming", fields);
      console.flush();
      return;
    }
    console.talk(fmt::format("{}: resuming: {} of {} are there already, and are compared",
                             printable(progress.disk), format_size(bytes),
                             format_size(progress.bytes_total)));
  }

  static void tell_replaced(Console& console, const transfer::Progress& progress) {
    if (console.json()) {
      boost::json::object fields;
      fields["disk"] = json_text(progress.disk);
      console.object("starting_anew", fields);
      console.flush();
      return;
    }
    console.talk(
        fmt::format("{}: starting anew: what an earlier job left there is of another disk, or of "
                    "this one before blocks were added to it",
                    printable(progress.disk)));
  }

  std::string disk_;
  std::string host_;
  std::string key_file_;
  std::string name_;
  migration::PlaceThere place_;  ///< What that says.
  std::string seed_from_;
  std::string mode_ = "auto";
  std::optional<int> level_;
  std::optional<unsigned> cpu_share_;
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
