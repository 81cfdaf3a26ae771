// Holds bytes on the wire to a rate, over all streams of a job, fairly.
//
// A token bucket without a clock of its own: a stream asks before it sends and is told how long to
// wait. Requests are served in the order in which they were made, so no stream starves another.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

namespace vhdxm::transfer {

/// Thread safety: all members may be called from any thread.
class RateLimiter {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  /// Units: bytes a second; 0 means no limit. The burst is 50 ms worth, at least 64 KiB.
  explicit RateLimiter(std::uint64_t bytes_per_second);

  void set_rate(std::uint64_t bytes_per_second, TimePoint now);
  std::uint64_t rate() const;

  /// Takes `bytes` and returns how long the caller must wait from `now` before it sends them.
  Duration take(std::uint64_t bytes, TimePoint now);

 private:
  mutable std::mutex mutex_;
  // State below is protected by mutex_.
  std::uint64_t bytes_per_second_;
  TimePoint next_free_{};  ///< When all that was taken so far is paid for.
};

}  // namespace vhdxm::transfer
