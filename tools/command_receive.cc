// vhdx-migrate receive: waits for disks and puts them into a folder.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <optional>
#include <vector>

#include "base/directory.h"
#include "tools/command_list.h"
#include "tools/control_client.h"
#include "tools/endpoint.h"
#include "tools/file_owner.h"
#include "tools/folder_options.h"
#include "tools/host_names.h"
#include "tools/json_output.h"
#include "tools/key_prompt.h"
#include "tools/mover_client.h"
#include "tools/printable_text.h"
#include "tools/receive_display.h"
#include "transfer/partials.h"
#include "transfer/receiver.h"
#include "transfer/storage_folders.h"

namespace vhdxm::tools {
namespace {

class ReceiveCommand final : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "receive",
        .summary = "wait for disks that other hosts send",
        .description =
            "Listens for `vhdx-migrate send` and puts the disks that arrive into a folder, several "
            "at once. A disk is NAME.vhdx.partial until it is complete and durable, and stays so "
            "if "
            "its job is interrupted: the same send resumes, and `vhdx-migrate cleanup` removes it. "
            "An existing name is never taken. The first line says where it listens.\n"
            "Without --key-file it makes a key that is good until it ends, and shows it with the "
            "command for the other host. With --key-file that file is made if it is not there "
            "(readable by its owner alone); the sending host needs a copy.",
        .examples = {{"vhdx-migrate receive --into /var/lib/disks",
                      "shows a one-time key and the command for the other host"},
                     {"vhdx-migrate receive --into /var/lib/disks --key-file pair.key --once",
                      "one job, with a key file, then end"},
                     {"vhdx-migrate receive --into . --listen 127.0.0.1:0 --json",
                      "for a program: a free port, said in {\"type\":\"listening\"}"}}};
  }

  void add_options(OptionSet& options) override {
    options.text("--into", "DIR", into_, "the folder for the disks (needed)");
    options.texts("--folder", "NAME=DIR", folders_,
                  "a further one, for senders that say --as NAME/DISK.vhdx; once for each");
    options.text("--listen", "ADDR:PORT", listen_,
                 "where to listen; every address and port 6600 unless told; port 0 is a free one");
    options.flag("--once", once_, "end after the first job that ends well");
    options.text("--key-file", "FILE", key_file_, "the key; made if it is not there");
    options.size("--memory", memory_, "for buffers of all jobs; 64M unless told");
    options.flag("--plaintext-data", plaintext_data_,
                 "let senders that ask for it send data without encryption");
    options.text("--owner", "USER:GROUP", owner_, "whose the disks are");
    options.text("--file-mode", "MODE", file_mode_, "their mode, octal; 0600 unless told");
    add_control_option(options, control_);
  }

  CommandResult run(CommandContext& context) override {
    auto options = receiver_options();
    if (options.has_error()) return options.error();
    const transfer::PairingKey key = options->key;

    ReceiveDisplay display(context.console, context.progress);
    const std::uint16_t port = options->port;
    auto bound = transfer::Receiver::bind(
        std::move(*options), [&](const transfer::ReceiverEvent& event) { display.post(event); });
    if (bound.has_error()) return bind_failure(bound.error(), port);
    const auto receiver = std::move(*bound);
    announce(context.console, *receiver, key);
    announce_partials(context.console);
    const auto failure = [&] {
      const OnRequest stop(context.interrupt, [&] { receiver->stop(); });
      return receiver->run();
    }();
    if (context.interrupt.requested()) {
      return stopped();
    }
    if (failure) return failure_of(*failure);
    return ExitCode::kDone;
  }

 private:
  /// The port may be taken by this host's service, which does the same.
  CommandFailure bind_failure(const Error& error, std::uint16_t port) const {
    CommandFailure failure = failure_of(error);
    if (error.code != boost::system::errc::address_in_use) return failure;
    const auto host = ControlClient(control_).ask("GET", "/v1/host");
    if (host.has_error() || number_of(*host, "port") != port) return failure;
    failure.message =
        fmt::format("receive: port {} is that of this host's service, vhdx-migrated", port);
    failure.advice = fmt::format(
        "It takes what `vhdx-migrate send` sends, into {}; or choose another port with --listen.",
        text_of(*host, "folder"));
    return failure;
  }

  /// What jobs that ended early have left; nothing that cannot be looked at keeps disks from
  /// coming.
  std::vector<transfer::Partial> partials() const {
    std::vector<transfer::Partial> all = partials_in("", into_);
    for (const auto& [name, path] : named_) {
      for (transfer::Partial& one : partials_in(name, path)) all.push_back(std::move(one));
    }
    return all;
  }
  /// Under the names that they are shown by.
  static std::vector<transfer::Partial> partials_in(const std::string& name,
                                                    const std::string& path) {
    const auto folder = Directory::open(path);
    if (folder.has_error()) return {};
    auto found = transfer::list_partials(**folder);
    if (found.has_error()) return {};
    for (transfer::Partial& one : *found) one.name = transfer::text_of_place(name, one.name);
    return std::move(*found);
  }

  CommandFailure stopped() const {
    const std::size_t count = partials().size();
    if (count == 0) {
      return interrupted(fmt::format("receive: stopped; nothing unfinished is left in {}", into_));
    }
    return interrupted(
        fmt::format("receive: stopped; {} unfinished {} kept in {}", count,
                    count == 1 ? "disk is" : "disks are", into_),
        "Start it again and run the same send: it resumes. `vhdx-migrate cleanup --into DIR` "
        "shows and removes them.");
  }

  void announce_partials(Console& console) const {
    for (const transfer::Partial& partial : partials()) {
      if (!partial.resumable) continue;
      if (console.json()) {
        boost::json::object fields;
        fields["disk"] = json_text(partial.name);
        fields["id"] = json_text(partial.id);
        fields["virtual_bytes"] = partial.virtual_bytes;
        console.object("resumable", fields);
        console.flush();
      } else {
        console.talk(
            fmt::format("{} is here in part: the same send resumes", printable(partial.name)));
      }
    }
  }

  boost::system::result<transfer::ReceiverOptions, CommandFailure> receiver_options() {
    if (into_.empty()) {
      return usage_failure("receive: --into is missing",
                           "Say where disks go, e.g. --into /var/lib/disks.");
    }
    if (auto failure = take_folders(folders_, named_)) return std::move(*failure);
    Endpoint endpoint;
    if (!listen_.empty()) {
      const auto parsed = parse_listen_endpoint(listen_);
      if (!parsed) {
        return usage_failure(fmt::format("--listen: '{}' is not ADDR, ADDR:PORT or :PORT", listen_),
                             "For example 10.0.0.5:6600, [::1]:6600, :7000 or 127.0.0.1:0.");
      }
      endpoint = *parsed;
    }
    FileOwner owner;
    if (!owner_.empty()) {
      auto parsed = parse_owner(owner_);
      if (parsed.has_error()) return parsed.error();
      owner = *parsed;
    }
    auto mode = parse_file_mode(file_mode_);
    if (mode.has_error()) return mode.error();
    auto key = key_file_.empty() ? KeyResult(transfer::PairingKey::generate())
                                 : key_from_file_or_new(key_file_);
    if (key.has_error()) return key.error();
    return transfer::ReceiverOptions{
        .into = into_,
        .folders = named_,
        .listen_address = endpoint.host,
        .port = endpoint.port.value_or(transfer::kDefaultPort),
        .key = *key,
        .once = once_,
        .memory_bytes = memory_.value_or(transfer::kDefaultMemoryBytes),
        .plaintext_data = plaintext_data_,
        .owner_uid = owner.uid,
        .owner_gid = owner.gid,
        .file_mode = *mode};
  }

  /// What the other host has to be told.
  std::string send_command(const transfer::Receiver& receiver) const {
    const auto bound = parse_endpoint(receiver.address());
    const bool everywhere = !bound || bound->host == "::" || bound->host == "0.0.0.0";
    std::string command =
        fmt::format("vhdx-migrate send DISK.vhdx {}",
                    everywhere ? to_text(own_host_name(), receiver.port()) : receiver.address());
    if (!key_file_.empty()) command += " --key-file " + shell_word(key_file_);
    if (plaintext_data_) command += " --plaintext-data";
    return command;
  }

  void announce(Console& console, const transfer::Receiver& receiver,
                const transfer::PairingKey& key) const {
    const std::string command = send_command(receiver);
    if (console.json()) {
      boost::json::object fields;
      fields["address"] = json_text(receiver.address());
      fields["port"] = receiver.port();
      fields["into"] = json_text(into_);
      boost::json::object folders;
      for (const auto& [name, path] : named_) folders[name] = json_text(path);
      fields["folders"] = std::move(folders);
      console.object("listening", fields);
      boost::json::object pairing;
      pairing["send_command"] = json_text(command);
      // A program has no other way to learn a key that is in no file.
      if (key_file_.empty()) pairing["key"] = key.to_groups();
      console.object("pairing", pairing);
      console.flush();
      return;
    }
    console.print(
        fmt::format("Listening on {}, disks go to {}\n", receiver.address(), printable(into_)));
    console.flush();
    console.talk(key_file_.empty()
                     ? "On the host that has the disk, run:"
                     : fmt::format("On the host that has the disk, run, with a copy of {}:",
                                   printable(key_file_)));
    console.talk("  " + printable(command));
    if (key_file_.empty()) {
      console.talk("and give this key when it asks; it is good until this command ends:");
      console.talk("  " + key.to_groups());
    }
    const auto addresses = own_addresses();
    if (!addresses.empty()) {
      console.talk(fmt::format("This host's addresses: {}", fmt::join(addresses, ", ")));
    }
    if (plaintext_data_) {
      console.talk("Senders that ask for it send their data without encryption.");
    }
  }

  std::string into_;
  std::vector<std::string> folders_;
  std::map<std::string, std::string> named_;  ///< What these say.
  std::string listen_;
  std::string key_file_;
  std::string owner_;
  std::string file_mode_ = "0600";
  std::string control_ = kControlSocket;
  std::optional<std::uint64_t> memory_;
  bool once_ = false;
  bool plaintext_data_ = false;
};

}  // namespace

std::unique_ptr<Command> make_receive_command() {
  return std::make_unique<ReceiveCommand>();
}

}  // namespace vhdxm::tools
