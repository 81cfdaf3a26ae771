// Threads that leave signals to others.
#pragma once

#include <signal.h>

#include <thread>
#include <utility>

namespace vhdxm {

/// While it lives, no signal is handled by the thread that made it, nor ever by one that is started
/// meanwhile. Thread safety: of one thread.
class BlockedSignals {
 public:
  BlockedSignals();
  ~BlockedSignals();
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

/// A thread that runs `body` and is never interrupted by a signal: those are for the threads of
/// whoever embeds this code. Throws what std::thread throws.
template <class Body>
std::thread signal_free_thread(Body&& body) {
  const BlockedSignals blocked;
  return std::thread(std::forward<Body>(body));
}

}  // namespace vhdxm
