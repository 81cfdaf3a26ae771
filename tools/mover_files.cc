#include "tools/mover_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

namespace vhdxm::tools {

MoverPlaces mover_places(const std::string& run_folder, const std::string& key) {
  return {.lock = fmt::format("{}/movers/{}.lock", run_folder, key),
          .control = fmt::format("{}/movers/{}.sock", run_folder, key),
          .clients = client_socket_path(run_folder, key),
          .waiting = fmt::format("{}/disks/{}.wait", run_folder, key)};
}

std::string mover_key_of_group(const std::string& group) {
  return fmt::format("@{}", group);
}

std::string client_socket_path(const std::string& run_folder, const std::string& name) {
  return fmt::format("{}/disks/{}.sock", run_folder, name);
}

Result<void> link_client_socket(const std::string& run_folder, const std::string& name,
                                const std::string& socket) {
  const std::string path = client_socket_path(run_folder, name);
  const std::string fresh = fmt::format("{}/disks/{}.new", run_folder, name);
  const std::string target = std::filesystem::path(socket).filename();
  ::unlink(fresh.c_str());
  if (::symlink(target.c_str(), fresh.c_str()) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0) {
    return errno_error("make the socket's link").about(path);
  }
  return {};
}

void unlink_client_socket(const std::string& run_folder, const std::string& name) {
  ::unlink(client_socket_path(run_folder, name).c_str());
}

}  // namespace vhdxm::tools
