#include "transfer/wait_clock.h"

#include <algorithm>

namespace vhdxm::transfer {

void WaitClock::begin(TimePoint now) {
  if (since_.load(std::memory_order_relaxed) != 0) return;
  // A clock that stands at its epoch has not been seen; a wait that began there would be none.
  since_.store(std::max<Duration::rep>(now.time_since_epoch().count(), 1),
               std::memory_order_release);
}

void WaitClock::end(TimePoint now) {
  const Duration::rep since = since_.exchange(0, std::memory_order_acq_rel);
  if (since == 0) return;
  const Duration::rep waited = now.time_since_epoch().count() - since;
  waited_.fetch_add(std::max<Duration::rep>(waited, 0), std::memory_order_release);
}

WaitClock::Duration WaitClock::total(TimePoint now) const {
  const Duration::rep since = since_.load(std::memory_order_acquire);
  Duration::rep all = waited_.load(std::memory_order_acquire);
  if (since != 0) all += std::max<Duration::rep>(now.time_since_epoch().count() - since, 0);
  return Duration(all);
}

}  // namespace vhdxm::transfer
