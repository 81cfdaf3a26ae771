// Ctrl-C and SIGTERM as a request that work can look at, wait for, or be told of.
//
// The first signal asks; the second ends the process at once, with exit status 130, whatever the
// first one's action is doing. The first is taken by a thread, so its action may lock and allocate.
#pragma once

#include <termios.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

namespace vhdxm::tools {

/// Thread safety: all members but the constructor may be called from any thread.
class Interrupt {
 public:
  /// Blocks SIGINT and SIGTERM in the calling thread: make it before any other thread is made.
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const { return requested_; }
  /// For code that polls a flag.
  const std::atomic<bool>& flag() const { return requested_; }
  /// Readable from the first request on; for poll().
  int fd() const { return request_fd_; }

  /// Calls `action` at the first request; at once if that was before. One at a time: the next call
  /// replaces it, and an empty one waits until a call that is under way is over.
  void on_request(std::function<void()> action);
  /// As the signal does.
  void request();

 private:
  void take_signals();

  std::atomic<bool> requested_ = false;
  int request_fd_ = -1;
  int signal_fd_ = -1;
  int stop_fd_ = -1;
  std::mutex mutex_;
  // State below is protected by mutex_.
  std::function<void()> action_;

  std::thread thread_;
};

/// While it lives, a request calls its action.
class OnRequest {
 public:
  OnRequest(Interrupt& interrupt, std::function<void()> action) : interrupt_(interrupt) {
    interrupt_.on_request(std::move(action));
  }
  ~OnRequest() { interrupt_.on_request({}); }
  OnRequest(const OnRequest&) = delete;
  OnRequest& operator=(const OnRequest&) = delete;

 private:
  Interrupt& interrupt_;
};

/// While it lives, a second signal puts a terminal back into `mode` before the process ends.
/// Requires: at most one at a time.
class RestoreTerminalOnKill {
 public:
  RestoreTerminalOnKill(int fd, const termios& mode);
  ~RestoreTerminalOnKill();
  RestoreTerminalOnKill(const RestoreTerminalOnKill&) = delete;
  RestoreTerminalOnKill& operator=(const RestoreTerminalOnKill&) = delete;
};

}  // namespace vhdxm::tools
