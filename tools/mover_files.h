// What the service and its movers agree on about the files of a mover in the run folder.
#pragma once

#include <string>

#include "base/result.h"

namespace vhdxm::tools {

/// `key`: of a mover: the name of its disk, or mover_key_of_group(). No disk's name begins as
/// that of a group does.
struct MoverPlaces {
  std::string lock;     ///< Held as long as the mover lives.
  std::string control;  ///< Its control socket.
  std::string clients;  ///< Where NBD clients connect.
  std::string waiting;  ///< Where the NBD server listens as long as there is no disk.
};
MoverPlaces mover_places(const std::string& run_folder, const std::string& key);
std::string mover_key_of_group(const std::string& group);

/// Where clients of a disk connect: its mover's socket, or a link to that of its group.
std::string client_socket_path(const std::string& run_folder, const std::string& name);
/// Makes that link, in place of what is there. Errors: the system's.
Result<void> link_client_socket(const std::string& run_folder, const std::string& name,
                                const std::string& socket);
void unlink_client_socket(const std::string& run_folder, const std::string& name);

}  // namespace vhdxm::tools
