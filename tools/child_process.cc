#include "tools/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <cerrno>

namespace vhdxm::tools {
namespace {

/// posix_spawn's settings, freed at the end.
class SpawnSettings {
 public:
  SpawnSettings(const std::vector<int>& kept, Apart apart) {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawn_file_actions_init(&actions_);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setpgroup(&attributes_, 0);  // of its own
    const int of_its_own = apart == Apart::kSession ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
    ::posix_spawnattr_setflags(
        &attributes_,
        static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | of_its_own));
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, STDERR_FILENO, STDOUT_FILENO);
    int target = kFirstKeptFd;
    for (const int fd : kept) ::posix_spawn_file_actions_adddup2(&actions_, fd, target++);
    // The sockets of the control API are not closed by exec() of themselves: a child that kept
    // those would hold the service's socket when the service has gone.
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, target);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

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

Result<pid_t> start_child(const std::vector<std::string>& words, const std::vector<int>& kept,
                          Apart apart) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<int> copies;
  for (const int fd : kept) copies.push_back(moved_up(fd));
  pid_t pid = -1;
  const SpawnSettings settings(copies, apart);
  const int failed = ::posix_spawn(&pid, words.front().c_str(), settings.actions(),
                                   settings.attributes(), arguments.data(), environ);
  for (const int fd : copies) ::close(fd);
  if (failed != 0) {
    errno = failed;
    return errno_error("start").about(words.front());
  }
  return pid;
}

}  // namespace vhdxm::tools
