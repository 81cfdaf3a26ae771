#include "tools/detached_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace vhdxm::tools {
namespace {

/// Where the kept descriptors begin in the child.
constexpr int kFirstKept = 3;

/// posix_spawn's settings, freed at the end.
class DetachedSettings {
 public:
  explicit DetachedSettings(const std::vector<int>& kept) {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawn_file_actions_init(&actions_);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setflags(&attributes_,
                               POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, STDERR_FILENO, STDOUT_FILENO);
    int target = kFirstKept;
    for (const int fd : kept) ::posix_spawn_file_actions_adddup2(&actions_, fd, target++);
    // Asio's sockets are not closed by exec() of themselves: a child that kept those would hold the
    // service's port and control socket when the service has gone.
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, target);
  }
  ~DetachedSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  DetachedSettings(const DetachedSettings&) = delete;
  DetachedSettings& operator=(const DetachedSettings&) = delete;

  const posix_spawnattr_t* attributes() const { return &attributes_; }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }

 private:
  posix_spawnattr_t attributes_;
  posix_spawn_file_actions_t actions_;
};

/// A copy that is out of the way of the numbers which the child gives out: a dup2() there must not
/// overwrite one that is still to be copied.
int moved_up(int fd) {
  constexpr int kOutOfTheWay = 64;
  return ::fcntl(fd, F_DUPFD_CLOEXEC, kOutOfTheWay);
}

}  // namespace

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

Result<pid_t> start_detached(const std::vector<std::string>& words, const std::vector<int>& kept) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<int> copies;
  for (const int fd : kept) copies.push_back(moved_up(fd));
  pid_t pid = -1;
  const DetachedSettings settings(copies);
  const int failed = ::posix_spawn(&pid, words.front().c_str(), settings.actions(),
                                   settings.attributes(), arguments.data(), environ);
  for (const int fd : copies) ::close(fd);
  if (failed != 0) {
    errno = failed;
    return errno_error("start").about(words.front());
  }
  return pid;
}

void ignore_ended_children() {
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGCHLD, &action, nullptr);
}

}  // namespace vhdxm::tools
