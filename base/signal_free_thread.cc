#include "base/signal_free_thread.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace vhdxm {
namespace {

// A thread that is started meanwhile has them blocked for good. Neither call fails for arguments
// that are valid.
class BlockedSignals {
 public:
  BlockedSignals() : before_{} {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

std::thread signal_free_thread(std::function<void()> body) {
  const BlockedSignals blocked;
  return std::thread(std::move(body));
}

}  // namespace vhdxm
