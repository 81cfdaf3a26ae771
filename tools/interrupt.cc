#include "tools/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "tools/exit_codes.h"

namespace vhdxm::tools {
namespace {

void raise_event(int fd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof one);
}

sigset_t watched_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

// What the handler below may look at.
termios terminal_mode{};
std::atomic<int> terminal_fd = -1;
static_assert(std::atomic<int>::is_always_lock_free);

/// Of the second signal. Only calls what is safe in a signal handler.
void end_at_once(int) {
  if (const int fd = terminal_fd; fd >= 0) ::tcsetattr(fd, TCSANOW, &terminal_mode);
  ::_exit(static_cast<int>(ExitCode::kInterrupted));
}

/// From here on a signal is delivered to the calling thread and ends the process.
void let_next_signal_kill() {
  struct sigaction action {};
  action.sa_handler = end_at_once;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  const sigset_t signals = watched_signals();
  ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

}  // namespace

Interrupt::Interrupt() {
  const sigset_t signals = watched_signals();
  VHDXM_CHECK(::pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  request_fd_ = ::eventfd(0, EFD_CLOEXEC);
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC);
  signal_fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC);
  VHDXM_CHECK(request_fd_ >= 0 && stop_fd_ >= 0 && signal_fd_ >= 0);
  thread_ = std::thread([this] { take_signals(); });
}

Interrupt::~Interrupt() {
  raise_event(stop_fd_);
  thread_.join();
  ::close(signal_fd_);
  ::close(stop_fd_);
  ::close(request_fd_);
}

void Interrupt::on_request(std::function<void()> action) {
  const std::lock_guard lock(mutex_);
  action_ = std::move(action);
  if (requested_ && action_) action_();
}

void Interrupt::request() {
  const std::lock_guard lock(mutex_);
  if (requested_.exchange(true)) return;
  raise_event(request_fd_);
  if (action_) action_();
}

void Interrupt::take_signals() {
  std::array<pollfd, 2> waits{};
  waits[0] = {.fd = signal_fd_, .events = POLLIN, .revents = 0};
  waits[1] = {.fd = stop_fd_, .events = POLLIN, .revents = 0};
  while (true) {
    if (::poll(waits.data(), waits.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (waits[1].revents != 0) return;
    signalfd_siginfo info{};
    if (::read(signal_fd_, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) continue;
    let_next_signal_kill();
    request();
  }
}

RestoreTerminalOnKill::RestoreTerminalOnKill(int fd, const termios& mode) {
  terminal_mode = mode;
  terminal_fd = fd;
}

RestoreTerminalOnKill::~RestoreTerminalOnKill() {
  terminal_fd = -1;
}

}  // namespace vhdxm::tools
