#include "base/signal_free_thread.h"

#include <pthread.h>

namespace vhdxm {

// Neither call fails for arguments that are valid.
BlockedSignals::BlockedSignals() : before_{} {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before_);
}

BlockedSignals::~BlockedSignals() {
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace vhdxm
