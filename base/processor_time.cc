#include "base/processor_time.h"

#include <sched.h>

#include <algorithm>
#include <ctime>
#include <thread>

namespace vhdxm {

std::uint64_t thread_processor_ns() {
  timespec now{};
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);  // fails for no argument that is valid
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

unsigned usable_processors() {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  // Fails where a host has more processors than the set has bits.
  if (sched_getaffinity(0, sizeof usable, &usable) == 0) {
    return static_cast<unsigned>(std::max(CPU_COUNT(&usable), 1));
  }
  return std::max(std::thread::hardware_concurrency(), 1U);
}

}  // namespace vhdxm
