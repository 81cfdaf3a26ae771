// Processes that outlive the one that started them, and how they are known to live: by a lock.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace vhdxm::tools {

/// The lock of a file that a process holds as long as it lives, and hands to a child that is to
/// hold it instead. A file that is locked says that the process lives, whoever started it, and one
/// that is not, that it does not: there is no number that another process may have by now.
class ProcessLock {
 public:
  /// Nothing if a living process holds it. Makes the file if it is not there.
  static Result<std::optional<ProcessLock>> take(const std::string& path);
  ProcessLock(ProcessLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ProcessLock& operator=(ProcessLock&&) = delete;
  /// Lets go of it, here: a child that has it keeps it.
  ~ProcessLock();

  int fd() const { return fd_; }

 private:
  explicit ProcessLock(int fd) : fd_(fd) {}
  int fd_;
};

/// The other end of a pipe that a child holds: it says that it is ready, or ends.
class ReadyPipe {
 public:
  static Result<ReadyPipe> make();
  ReadyPipe(ReadyPipe&& other) noexcept
      : read_fd_(std::exchange(other.read_fd_, -1)),
        write_fd_(std::exchange(other.write_fd_, -1)) {}
  ReadyPipe& operator=(ReadyPipe&&) = delete;
  ~ReadyPipe();

  int child_fd() const { return write_fd_; }
  /// After the child was started. True: it said "R". False: it ended, or said nothing so long.
  bool wait(int patience_ms);

 private:
  ReadyPipe(int read_fd, int write_fd) : read_fd_(read_fd), write_fd_(write_fd) {}
  int read_fd_;
  int write_fd_;
};

/// A child that is of no use without this process notices its end: the child's end is closed then.
class LifeLine {
 public:
  static Result<LifeLine> make();
  LifeLine(LifeLine&& other) noexcept
      : own_fd_(std::exchange(other.own_fd_, -1)), child_fd_(std::exchange(other.child_fd_, -1)) {}
  LifeLine& operator=(LifeLine&&) = delete;
  /// The child is told that it is of no use, unless it is by now.
  ~LifeLine();

  int child_fd() const { return child_fd_; }
  /// The child was started, and has that one.
  void started();

 private:
  LifeLine(int own_fd, int child_fd) : own_fd_(own_fd), child_fd_(child_fd) {}
  int own_fd_;
  int child_fd_;
};

/// start_child() in a session of its own. Nobody has to wait for it: see ignore_ended_children().
Result<pid_t> start_detached(const std::vector<std::string>& words, const std::vector<int>& kept);

/// Children that end are forgotten at once: no zombies. For the whole process.
void ignore_ended_children();

}  // namespace vhdxm::tools
