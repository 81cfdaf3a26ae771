#include "tools/socket_path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

namespace vhdxm::tools {
namespace {

constexpr std::size_t kSocketPathMax = sizeof(sockaddr_un{}.sun_path) - 1;

/// Whether somebody listens at a socket of the file system. Asked with a socket of another type: a
/// server that listens is named by EPROTOTYPE, and never sees a connection.
bool is_live(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return true;  // not known: nothing is removed
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int connected = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
  const bool refused = connected != 0 && errno == ECONNREFUSED;
  ::close(fd);
  return !refused;
}

CommandFailure failure(std::string message, std::string advice) {
  return {.message = std::move(message),
          .advice = std::move(advice),
          .exit = ExitCode::kFailed,
          .ownership = {}};
}

/// Removes a dead socket at `path`; why `path` cannot be used otherwise.
std::optional<CommandFailure> make_free(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return std::nullopt;
    return failure_of(errno_error("look for the socket").about(path));
  }
  if (!S_ISSOCK(status.st_mode)) {
    return failure(fmt::format("serve: {} exists, and is no socket", path),
                   "Choose another name with --socket: an existing file is never overwritten.");
  }
  if (is_live(path)) {
    return failure(fmt::format("serve: another server listens at {}", path),
                   "Choose another name with --socket, or stop that server.");
  }
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return std::nullopt;
  return failure_of(errno_error("remove a socket that nobody listens at").about(path));
}

}  // namespace

boost::system::result<SocketPath, CommandFailure> SocketPath::claim(const std::string& path) {
  SocketPath socket(path);
  socket.hidden_made_ = false;  // until it is known that what has that name is not another's
  if (socket.hidden_.size() > kSocketPathMax) {
    return usage_failure(
        fmt::format("--socket: {} is too long; a socket's name has at most {} bytes", path,
                    kSocketPathMax - 1),
        "Choose a shorter one, e.g. in /run or /tmp.");
  }
  for (const std::string& name : {path, socket.hidden_}) {
    if (auto failed = make_free(name)) return std::move(*failed);
  }
  socket.hidden_made_ = true;
  return socket;
}

SocketPath::SocketPath(SocketPath&& other) noexcept
    : path_(std::move(other.path_)),
      hidden_(std::move(other.hidden_)),
      hidden_made_(std::exchange(other.hidden_made_, false)),
      shown_inode_(std::exchange(other.shown_inode_, 0)) {}

Result<void> SocketPath::show() {
  struct stat status {};
  if (::lstat(hidden_.c_str(), &status) != 0) return errno_error("socket").about(hidden_);
  // For its owner alone; who wants others in, changes it.
  if (::chmod(hidden_.c_str(), S_IRUSR | S_IWUSR) != 0) {
    return errno_error("set the socket's mode").about(hidden_);
  }
  if (::renameat2(AT_FDCWD, hidden_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0) {
    return errno_error("give the socket its name").about(path_);
  }
  hidden_made_ = false;
  shown_inode_ = status.st_ino;
  return {};
}

SocketPath::~SocketPath() {
  if (hidden_made_) ::unlink(hidden_.c_str());
  if (shown_inode_ == 0) return;
  struct stat status {};
  // Somebody may have put another there.
  if (::lstat(path_.c_str(), &status) == 0 && status.st_ino == shown_inode_) {
    ::unlink(path_.c_str());
  }
}

}  // namespace vhdxm::tools
