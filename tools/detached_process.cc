#include "tools/detached_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "tools/child_process.h"

namespace vhdxm::tools {

Result<std::optional<ProcessLock>> ProcessLock::take(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (fd < 0) return errno_error("open the lock").about(path);
  ProcessLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return std::optional(std::move(lock));
  if (errno == EWOULDBLOCK) return std::optional<ProcessLock>();
  return errno_error("take the lock").about(path);
}

ProcessLock::~ProcessLock() {
  if (fd_ >= 0) ::close(fd_);
}

Result<ReadyPipe> ReadyPipe::make() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error("make a pipe");
  return ReadyPipe(ends[0], ends[1]);
}

ReadyPipe::~ReadyPipe() {
  if (read_fd_ >= 0) ::close(read_fd_);
  if (write_fd_ >= 0) ::close(write_fd_);
}

bool ReadyPipe::wait(int patience_ms) {
  ::close(std::exchange(write_fd_, -1));
  pollfd wait{.fd = read_fd_, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&wait, 1, patience_ms);
  } while (ready < 0 && errno == EINTR);
  char said = 0;
  return ready > 0 && ::read(read_fd_, &said, 1) == 1 && said == 'R';
}

Result<LifeLine> LifeLine::make() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return errno_error("socketpair");
  }
  return LifeLine(ends[0], ends[1]);
}

LifeLine::~LifeLine() {
  if (own_fd_ >= 0) ::close(own_fd_);
  started();
}

void LifeLine::started() {
  if (child_fd_ >= 0) ::close(std::exchange(child_fd_, -1));
}

Result<pid_t> start_detached(const std::vector<std::string>& words, const std::vector<int>& kept) {
  return start_child(words, kept, Apart::kSession);
}

void ignore_ended_children() {
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGCHLD, &action, nullptr);
}

}  // namespace vhdxm::tools
