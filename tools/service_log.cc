#include "tools/service_log.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "tools/json_output.h"
#include "tools/printable_text.h"

namespace vhdxm::tools {
namespace {

const char* level_word(ServiceLog::Level level) {
  switch (level) {
    case ServiceLog::Level::kError:
      return "error: ";
    case ServiceLog::Level::kWarning:
      return "warning: ";
    case ServiceLog::Level::kNotice:
    case ServiceLog::Level::kInfo:
      break;
  }
  return "";
}

}  // namespace

bool ServiceLog::stderr_is_journal() {
  const char* named = std::getenv("JOURNAL_STREAM");
  struct stat status {};
  if (named == nullptr || ::fstat(STDERR_FILENO, &status) != 0) return false;
  return named == fmt::format("{}:{}", status.st_dev, status.st_ino);
}

void ServiceLog::write(Level level, const std::string& text) {
  const std::string front =
      to_journal_
          ? fmt::format("<{}>", static_cast<int>(level))
          : fmt::format("{} {}", rfc3339(std::chrono::system_clock::now()), level_word(level));
  const std::string line = front + printable(text) + "\n";
  const std::lock_guard lock(mutex_);
  // A log that cannot be written is no reason to end what it tells of.
  [[maybe_unused]] const ssize_t written = ::write(fd_, line.data(), line.size());
}

void notify_systemd(const std::string& state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == '\0') return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if (length >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, length);
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // a name outside the file system
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t sent =
      ::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address),
               static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
  ::close(fd);
}

}  // namespace vhdxm::tools
