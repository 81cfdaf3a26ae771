#include "transfer/rate_limiter.h"

#include <algorithm>
#include <cmath>

namespace vhdxm::transfer {
namespace {

constexpr auto kBurst = std::chrono::milliseconds(50);
constexpr std::uint64_t kBurstBytesMin = 64 * 1024;
/// Nothing waits longer than this for one take(), so that no sum of times below can wrap.
constexpr auto kLongest = std::chrono::hours(24);

/// How long `bytes` last at that rate, rounded up so that the rate is never exceeded.
RateLimiter::Duration time_for(std::uint64_t bytes, std::uint64_t bytes_per_second) {
  using Period = RateLimiter::Duration::period;
  const long double ticks = std::ceil(static_cast<long double>(bytes) * Period::den /
                                      (static_cast<long double>(bytes_per_second) * Period::num));
  const RateLimiter::Duration longest = kLongest;
  if (ticks >= static_cast<long double>(longest.count())) return longest;
  return RateLimiter::Duration(static_cast<RateLimiter::Duration::rep>(ticks));
}

RateLimiter::Duration burst(std::uint64_t bytes_per_second) {
  return std::max<RateLimiter::Duration>(kBurst, time_for(kBurstBytesMin, bytes_per_second));
}

}  // namespace

RateLimiter::RateLimiter(std::uint64_t bytes_per_second)
    : bytes_per_second_(bytes_per_second), next_free_(TimePoint::min()) {}

void RateLimiter::set_rate(std::uint64_t bytes_per_second, TimePoint now) {
  const std::lock_guard lock(mutex_);
  // What is owed is owed in bytes: at another rate it takes another time.
  if (bytes_per_second_ != 0 && next_free_ > now) {
    const long double seconds = std::chrono::duration<long double>(next_free_ - now).count();
    const auto owed =
        static_cast<std::uint64_t>(seconds * static_cast<long double>(bytes_per_second_));
    next_free_ = bytes_per_second == 0 ? now : now + time_for(owed, bytes_per_second);
  }
  bytes_per_second_ = bytes_per_second;
}

std::uint64_t RateLimiter::rate() const {
  const std::lock_guard lock(mutex_);
  return bytes_per_second_;
}

RateLimiter::Duration RateLimiter::take(std::uint64_t bytes, TimePoint now) {
  const std::lock_guard lock(mutex_);
  if (bytes_per_second_ == 0) return Duration::zero();
  // Time that nobody used counts as paid in advance, up to one burst.
  next_free_ = std::max(next_free_, now - burst(bytes_per_second_));
  next_free_ = std::min(next_free_ + time_for(bytes, bytes_per_second_), now + Duration(kLongest));
  return std::max(next_free_ - now, Duration::zero());
}

}  // namespace vhdxm::transfer
