#include "tools/client_sockets.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <charconv>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

namespace vhdxm::tools {
namespace {

int option_of(int fd, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

/// An accepted connection has the name of the socket that it came in by; what a program opens to
/// others itself (a log, a socket pair) has none.
bool is_client_connection(int fd, const std::string& except) {
  if (option_of(fd, SO_DOMAIN) != AF_UNIX || option_of(fd, SO_TYPE) != SOCK_STREAM ||
      option_of(fd, SO_ACCEPTCONN) != 0) {
    return false;
  }
  sockaddr_un name{};
  socklen_t length = sizeof name;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0 ||
      length <= offsetof(sockaddr_un, sun_path)) {
    return false;
  }
  const std::string path(name.sun_path,
                         ::strnlen(name.sun_path, length - offsetof(sockaddr_un, sun_path)));
  return path != except;
}

}  // namespace

void end_client_connections(const std::string& except) {
  std::error_code error;
  std::filesystem::directory_iterator at("/proc/self/fd", error);
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename();
    int fd = -1;
    std::from_chars(name.data(), name.data() + name.size(), fd);
    // Not of the other direction: answers are still on their way.
    if (fd >= 0 && is_client_connection(fd, except)) ::shutdown(fd, SHUT_RD);
  }
}

}  // namespace vhdxm::tools
