#include "tools/host_config.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/size_text.h"
#include "tools/endpoint.h"
#include "tools/file_owner.h"
#include "tools/options.h"
#include "tools/printable_text.h"
#include "transfer/wire_text.h"

namespace vhdxm::tools {
namespace {

using migration::HostPeer;
using migration::HostSettings;

constexpr unsigned kJobsMax = 256;
/// As of `send --limit`: less is most likely a missing unit.
constexpr std::uint64_t kBandwidthMin = 64 * 1024;
constexpr std::uint64_t kRetryMsMax = 86'400'000;  // a day

/// What is wrong with a value, after "KEY: "; empty if nothing is.
using Complaint = std::string;

/// Takes the values of one table; remembers the first complaint.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string file, std::string prefix)
      : table_(table), file_(std::move(file)), prefix_(std::move(prefix)) {}

  void flag(const char* key, bool& value) {
    take(key, [&](const toml::node& node) -> Complaint {
      if (!node.is_boolean()) return "must be true or false";
      value = node.as_boolean()->get();
      return "";
    });
  }
  void text(const char* key, std::string& value) {
    parsed(key, [&](const std::string& found) -> Complaint {
      value = found;
      return "";
    });
  }
  void number(const char* key, unsigned least, unsigned most, unsigned& value) {
    take(key, [&](const toml::node& node) -> Complaint {
      const std::int64_t found = node.is_integer() ? node.as_integer()->get() : -1;
      if (found < static_cast<std::int64_t>(least) || found > static_cast<std::int64_t>(most)) {
        return fmt::format("must be a whole number from {} to {}", least, most);
      }
      value = static_cast<unsigned>(found);
      return "";
    });
  }
  /// A text that `parse` makes something of.
  template <class Parse>
  void parsed(const char* key, Parse parse) {
    take(key, [&](const toml::node& node) -> Complaint {
      if (!node.is_string()) return "must be a text in quotes";
      return parse(node.as_string()->get());
    });
  }
  template <class Take>
  void take(const char* key, Take take_node) {
    known_.emplace_back(key);
    const toml::node* node = table_.get(key);
    if (node == nullptr || failure_) return;
    const Complaint complaint = take_node(*node);
    if (!complaint.empty()) complain(*node, fmt::format("{}{}: {}", prefix_, key, complaint), "");
  }

  /// The first complaint: of a value, or of a key that nobody has asked for.
  std::optional<CommandFailure> finish() {
    for (const auto& [key, node] : table_) {
      if (failure_) break;
      const std::string name(key.str());
      bool found = false;
      for (const std::string& one : known_) found = found || one == name;
      if (found) continue;
      std::string all;
      for (const std::string& one : known_) all += (all.empty() ? "" : ", ") + one;
      complain(node, fmt::format("{}{}: there is no such setting", prefix_, name),
               fmt::format("Known here are: {}.", all), key.source().begin.line);
    }
    return failure_;
  }

 private:
  void complain(const toml::node& node, const std::string& message, std::string advice,
                toml::source_index line = 0) {
    if (line == 0) line = node.source().begin.line;
    failure_ = usage_failure(
        printable(fmt::format("{}:{}: {}", file_, line, message)),
        advice.empty() ? "See docs/operations.md for every setting." : printable(advice));
  }

  const toml::table& table_;
  const std::string file_;
  const std::string prefix_;
  std::vector<std::string> known_;
  std::optional<CommandFailure> failure_;
};

Complaint take_performance(const std::string& text, transfer::Mode& mode) {
  static const std::map<std::string, transfer::Mode> kWords{
      {"auto", transfer::Mode::kAuto},
      {"tcpip", transfer::Mode::kPlain},
      {"compression", transfer::Mode::kCompress}};
  const auto found = kWords.find(text);
  if (found == kWords.end()) return R"(must be "auto", "tcpip" or "compression")";
  mode = found->second;
  return "";
}

Complaint take_bandwidth(const std::string& text, std::uint64_t& limit) {
  const auto size = parse_size(text);
  if (!size) return R"(must be a size, e.g. "400M", which is a second's)";
  if (*size != 0 && *size < kBandwidthMin) return R"(is less than "64K" a second)";
  limit = *size;
  return "";
}

Complaint take_retry(const std::string& text, std::chrono::milliseconds& after) {
  const auto time = parse_milliseconds(text);
  if (!time || *time > kRetryMsMax) return R"(must be a time from "1ms" to "86400s", e.g. "5s")";
  after = std::chrono::milliseconds(*time);
  return "";
}

Complaint take_owner(const std::string& text, HostSettings& settings) {
  const auto owner = parse_owner(text);
  if (owner.has_error()) return owner.error().message;
  settings.owner_uid = owner->uid;
  settings.owner_gid = owner->gid;
  return "";
}

Complaint take_file_mode(const std::string& text, HostSettings& settings) {
  const auto mode = parse_file_mode(text);
  if (mode.has_error()) return mode.error().message;
  settings.file_mode = *mode;
  return "";
}

Complaint take_peer_address(const std::string& text, HostPeer& peer) {
  const auto endpoint = parse_endpoint(text);
  if (!endpoint || endpoint->port == std::uint16_t{0}) {
    return "must be HOST, HOST:PORT or [ADDRESS]:PORT";
  }
  peer.address = endpoint->host;
  peer.port = endpoint->port.value_or(transfer::kDefaultPort);
  return "";
}

/// [peers.NAME]
std::optional<CommandFailure> read_peers(const toml::table& table, const std::string& file,
                                         std::vector<HostPeer>& peers) {
  for (const auto& [key, node] : table) {
    HostPeer peer{.name = std::string(key.str()), .address = {}, .key_file = {}};
    if (!node.is_table()) {
      return usage_failure(printable(fmt::format("{}:{}: peers.{}: must be a table", file,
                                                 node.source().begin.line, peer.name)),
                           "Write [peers.NAME], and below it address and key_file.");
    }
    TableReader reader(*node.as_table(), file, fmt::format("peers.{}.", peer.name));
    reader.parsed("address", [&](const auto& text) { return take_peer_address(text, peer); });
    reader.text("key_file", peer.key_file);
    if (auto failure = reader.finish()) return failure;
    peers.push_back(std::move(peer));
  }
  return std::nullopt;
}

/// [folders]
std::optional<CommandFailure> read_folders(const toml::table& table, const std::string& file,
                                           std::map<std::string, std::string>& folders) {
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const auto refused = [&, &node = node](const char* complaint, const char* advice) {
      return usage_failure(printable(fmt::format("{}:{}: folders.{}: {}", file,
                                                 node.source().begin.line, name, complaint)),
                           advice);
    };
    if (!transfer::is_folder_name(name)) {
      return refused("cannot be the name of a folder",
                     "Names are letters, digits, '-' and '_', at most 64.");
    }
    if (!node.is_string() || node.as_string()->get().empty()) {
      return refused("must be a path in quotes", "For example fast = \"/srv/fast\".");
    }
    folders[name] = node.as_string()->get();
  }
  return std::nullopt;
}

std::optional<CommandFailure> read_settings(const toml::table& table, const std::string& file,
                                            HostSettings& settings) {
  TableReader reader(table, file, "");
  reader.flag("incoming", settings.incoming);
  reader.flag("outgoing", settings.outgoing);
  reader.text("listen", settings.listen_address);
  unsigned port = settings.port;
  reader.number("port", 0, 65535, port);
  settings.port = static_cast<std::uint16_t>(port);
  reader.parsed("auth", [](const std::string& text) -> Complaint {
    return text == "pairing" ? "" : R"(only "pairing" is offered)";
  });
  reader.text("key_file", settings.key_file);
  reader.text("folder", settings.folder);
  reader.parsed("owner", [&](const auto& text) { return take_owner(text, settings); });
  reader.parsed("file_mode", [&](const auto& text) { return take_file_mode(text, settings); });
  reader.number("max_migrations", 1, kJobsMax, settings.max_migrations);
  reader.number("max_arrivals", 1, kJobsMax, settings.max_arrivals);
  reader.parsed("bandwidth_limit",
                [&](const auto& text) { return take_bandwidth(text, settings.bandwidth_limit); });
  reader.parsed("performance",
                [&](const auto& text) { return take_performance(text, settings.performance); });
  reader.parsed("resolve_retry",
                [&](const auto& text) { return take_retry(text, settings.resolve_retry); });
  reader.text("state_folder", settings.state_folder);
  reader.text("run_folder", settings.run_folder);
  reader.text("control_socket", settings.control_socket);
  const toml::table* peers = nullptr;
  reader.take("peers", [&](const toml::node& node) -> Complaint {
    peers = node.as_table();
    return peers == nullptr ? "must be tables: [peers.NAME]" : "";
  });
  const toml::table* folders = nullptr;
  reader.take("folders", [&](const toml::node& node) -> Complaint {
    folders = node.as_table();
    return folders == nullptr ? R"(must be a table: [folders], and below it NAME = "/PATH")" : "";
  });
  if (auto failure = reader.finish()) return failure;
  if (folders != nullptr) {
    if (auto failure = read_folders(*folders, file, settings.folders)) return failure;
  }
  if (peers == nullptr) return std::nullopt;
  return read_peers(*peers, file, settings.peers);
}

bool is_absolute(const std::string& path) {
  return path.starts_with('/');
}

}  // namespace

HostConfigResult parse_host_config(std::string_view text, const std::string& name) {
  HostSettings settings;
  try {
    const toml::table table = toml::parse(text, name);
    if (auto failure = read_settings(table, name, settings)) return *failure;
  } catch (const toml::parse_error& error) {
    return usage_failure(
        printable(fmt::format("{}:{}: {}", name, error.source().begin.line, error.description())),
        "The file is TOML: `key = value`, texts in quotes.");
  }
  return settings;
}

HostConfigResult read_host_config(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return failure_of(errno_error("read the host settings").about(path));
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return failure_of(errno_error("read the host settings").about(path));
  return parse_host_config(text, path);
}

std::string problem_with(const HostSettings& settings) {
  // Movers and jobs are processes of their own, which must find the same files.
  for (const auto& [name, path] : {std::pair("state_folder", &settings.state_folder),
                                   std::pair("run_folder", &settings.run_folder)}) {
    if (!is_absolute(*path)) return fmt::format("{}: '{}' is no absolute path", name, *path);
  }
  if (!is_absolute(settings.control_path())) {
    return fmt::format("control_socket: '{}' is no absolute path", settings.control_socket);
  }
  if (!settings.incoming) return "";
  if (settings.folder.empty()) {
    return "incoming is on, and no folder is named that disks may arrive in (folder)";
  }
  if (!is_absolute(settings.folder)) {
    return fmt::format("folder: '{}' is no absolute path", settings.folder);
  }
  for (const auto& [name, path] : settings.folders) {
    if (!is_absolute(path)) {
      return fmt::format("folders.{}: '{}' is no absolute path", name, path);
    }
  }
  if (settings.key_file.empty()) {
    return "incoming is on, and no key is named that senders must have (key_file)";
  }
  return "";
}

std::optional<CommandFailure> find_folders(HostSettings& settings) {
  std::map<std::string, std::string> keys;  // by path
  const auto find = [&keys](const std::string& key,
                            std::string& path) -> std::optional<CommandFailure> {
    std::error_code ec;
    const auto real = std::filesystem::canonical(path, ec);
    if (!ec && !std::filesystem::is_directory(real, ec) && !ec) {
      ec = std::make_error_code(std::errc::not_a_directory);
    }
    if (ec) {
      return usage_failure(fmt::format("{}: {}: {}", key, path, ec.message()),
                           "Make the folder, mount what it is on, or take it out of the settings.");
    }
    const auto [other, is_new] = keys.emplace(real, key);
    if (!is_new) {
      return usage_failure(
          fmt::format("{}: {} is the same folder as that of {}", key, path, other->second),
          "A folder has one name: take one of the two out of the settings.");
    }
    path = real;
    return std::nullopt;
  };
  if (auto failure = find("folder", settings.folder)) return failure;
  for (auto& [name, path] : settings.folders) {
    if (auto failure = find("folders." + name, path)) return failure;
  }
  return std::nullopt;
}

}  // namespace vhdxm::tools
