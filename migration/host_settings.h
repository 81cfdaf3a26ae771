// What the administrator of a host lets its service do.
//
// Both directions are off until somebody switches them on.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "transfer/mode_control.h"
#include "transfer/sender.h"
#include "transfer/storage_folders.h"

namespace vhdxm::migration {

/// How the other side proves itself. Kerberos has a place here, and is not there yet.
enum class Authentication : std::uint8_t { kPairing };

/// Another host that moves may go to, under a short name.
struct HostPeer {
  std::string name;     ///< As in `--to NAME`.
  std::string address;  ///< Name or address; empty: the name is one.
  std::uint16_t port = transfer::kDefaultPort;
  std::string key_file;  ///< Empty: HostSettings::key_file.
};

struct HostSettings {
  bool incoming = false;  ///< Whether disks may arrive.
  bool outgoing = false;  ///< Whether moves may begin here.

  std::string listen_address;                   ///< Empty: every address of the host.
  std::uint16_t port = transfer::kDefaultPort;  ///< 0: a free one.
  Authentication authentication = Authentication::kPairing;
  std::string key_file;  ///< The key of whoever has none of its own in `peers`; made if missing.
  std::vector<HostPeer> peers;

  std::string folder;  ///< Where disks arrive for which no folder is named. Needed if `incoming`.
  /// Further ones, by name: a move may name one of them. Nothing arrives anywhere else.
  std::map<std::string, std::string> folders;
  std::optional<std::uint32_t> owner_uid;  ///< Of disks that arrive.
  std::optional<std::uint32_t> owner_gid;
  std::uint32_t file_mode = 0600;

  unsigned max_migrations = 2;  ///< Jobs from here at a time; further ones wait in a queue.
  unsigned max_arrivals = 8;    ///< Jobs to here at a time; a further sender is told to come back.
  std::uint64_t bandwidth_limit = 0;  ///< Bytes a second on the wire, of each job; 0: none.
  transfer::Mode performance = transfer::Mode::kAuto;
  /// After so long the destination of a job that is blocked is asked again; then after twice as
  /// long each time, up to 5 minutes.
  std::chrono::milliseconds resolve_retry{5'000};

  std::string state_folder = "/var/lib/vhdx-migrate";  ///< What has to survive a power loss.
  std::string run_folder = "/run/vhdx-migrate";        ///< Sockets.
  std::string control_socket;                          ///< Empty: `control.sock` in run_folder.

  std::string control_path() const {
    return control_socket.empty() ? run_folder + "/control.sock" : control_socket;
  }
  transfer::FolderPaths arrival_folders() const { return {.into = folder, .named = folders}; }
  /// The peer of that name; nullptr if there is none.
  const HostPeer* find_peer(const std::string& name) const {
    for (const HostPeer& peer : peers) {
      if (peer.name == name) return &peer;
    }
    return nullptr;
  }
};

}  // namespace vhdxm::migration
