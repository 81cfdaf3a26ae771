// vhdx-migrate advise: how long a move would take, plain and compressed, and which to choose.
#include <fmt/format.h>

#include <optional>

#include "base/size_text.h"
#include "tools/advice_text.h"
#include "tools/bit_rate.h"
#include "tools/command_list.h"
#include "tools/endpoint.h"
#include "tools/key_prompt.h"
#include "transfer/advisor.h"
#include "transfer/messages.h"
#include "vhdx/image.h"

namespace vhdxm::tools {
namespace {

class AdviseCommand final : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "advise",
        .summary = "predict how long a move takes, plain and compressed",
        .description =
            "Looks at a sample of the disk, at most 1 % of what it holds, and at the way to a host "
            "where `vhdx-migrate receive` waits: how fast the link is, and both hosts' processors "
            "and disks. Shows what each mode would take, what would hold it back, and which to "
            "choose. Nothing is kept there: the receiver drops what it is sent for this, and goes "
            "on waiting. Takes up to five seconds, in which it uses the link as a move does.\n"
            "Without HOST it predicts for a link of --link bits a second and a host like this one.",
        .examples = {{"vhdx-migrate advise web01.vhdx newhost --key-file pair.key",
                      "with the real link and both hosts"},
                     {"vhdx-migrate advise web01.vhdx --link 1G --cores 8",
                      "for a link of 1 Gbit/s to a host with 8 processors"}}};
  }

  void add_options(OptionSet& options) override {
    options.argument("DISK", disk_, "a VHDX file; its parents count too");
    options.optional_argument("HOST", host_,
                              "HOST, HOST:PORT or [ADDRESS]:PORT; port 6600 unless told");
    options.text("--key-file", "FILE", key_file_, "a copy of the receiver's key file");
    options.text("--link", "RATE", link_,
                 "without HOST: bits a second that the link carries: 100M, 1G, 2.5G");
    options.number("--cores", cores_, 1, 1024,
                   "without HOST: processors of the other host; as many as here unless told");
    options.flag("--flatten", flatten_, "for send --flatten");
    options.number("--streams", streams_, 1, transfer::kStreamsMax,
                   fmt::format("data streams; {} unless told", transfer::kDefaultStreams));
    options.size("--memory", memory_, "for buffers; 64M unless told");
    options.number("--cpu-share", cpu_share_, 1, 100, "for send --cpu-share; 100 unless told");
    options.flag("--plaintext-data", plaintext_data_,
                 "for send --plaintext-data; the receiver must say so too");
  }

  CommandResult run(CommandContext& context) override {
    if (auto image = vhdx::Image::open(disk_); image.has_error()) return failure_of(image.error());
    return host_.empty() ? without_host(context) : with_host(context);
  }

 private:
  CommandResult without_host(CommandContext& context) const {
    if (link_.empty()) {
      return usage_failure("advise: neither HOST nor --link is given",
                           "Name the host where `vhdx-migrate receive` waits, or say what link "
                           "there will be: --link 1G.");
    }
    const auto bits = parse_bit_rate(link_);
    if (!bits) {
      return usage_failure(fmt::format("--link: '{}' is not a rate", link_),
                           "Rates of links are in bits a second and take units: 100M, 1G, 2.5G.");
    }
    // Nobody is asked, so the key opens nothing.
    return advise(context, {.move = move_options(transfer::PairingKey::generate()),
                            .link_bytes_per_second = *bits / 8,
                            .peer_processors = cores_.value_or(0)});
  }

  CommandResult with_host(CommandContext& context) const {
    if (!link_.empty() || cores_) {
      return usage_failure("advise: --link and --cores are for advice without HOST",
                           "With HOST the link and both hosts are measured: leave them out.");
    }
    const auto endpoint = parse_endpoint(host_);
    if (!endpoint || endpoint->port == std::uint16_t{0}) {
      return usage_failure(
          fmt::format("HOST: '{}' is not HOST, HOST:PORT or [ADDRESS]:PORT", host_),
          "For example newhost, newhost:6600, 10.0.0.5 or [2001:db8::7]:6600.");
    }
    auto key = key_file_.empty() ? key_from_terminal(context.interrupt) : key_from_file(key_file_);
    if (key.has_error()) return key.error();
    transfer::AdviceOptions options{.move = move_options(*key)};
    options.move.host = endpoint->host;
    options.move.port = endpoint->port.value_or(transfer::kDefaultPort);
    return advise(context, std::move(options));
  }

  transfer::SenderOptions move_options(const transfer::PairingKey& key) const {
    return {.disk_path = disk_,
            .host = {},
            .key = key,
            .streams = streams_.value_or(0),
            .memory_bytes = memory_.value_or(transfer::kDefaultMemoryBytes),
            .cpu_share_percent = cpu_share_.value_or(100),
            .flatten = flatten_,
            .plaintext_data = plaintext_data_};
  }

  static CommandResult advise(CommandContext& context, transfer::AdviceOptions options) {
    transfer::Advisor advisor(std::move(options));
    const auto advice = [&] {
      const OnRequest cancel(context.interrupt, [&] { advisor.cancel(); });
      return advisor.run();
    }();
    if (advice.has_error()) {
      if (context.interrupt.requested()) return interrupted("advise: interrupted");
      return failure_of(advice.error());
    }
    if (context.console.json()) {
      context.console.object("advice", advice_json(*advice));
    } else {
      context.console.print(advice_text(*advice));
    }
    return ExitCode::kDone;
  }

  std::string disk_;
  std::string host_;
  std::string key_file_;
  std::string link_;
  std::optional<unsigned> cores_;
  std::optional<unsigned> streams_;
  std::optional<std::uint64_t> memory_;
  std::optional<unsigned> cpu_share_;
  bool flatten_ = false;
  bool plaintext_data_ = false;
};

}  // namespace

std::unique_ptr<Command> make_advise_command() {
  return std::make_unique<AdviseCommand>();
}

}  // namespace vhdxm::tools
