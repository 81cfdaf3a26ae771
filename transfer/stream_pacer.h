// One stream's turns at the limit of its job: when the next bytes may go.
//
// A stream asks for its next turn when it takes the one before, not when it has sent it. So a
// stream whose own link is just fast enough for its share gets that share, although it is busy
// sending while the others queue. Turns are all of one size, so equal turns are equal bytes.
#pragma once

#include <cstdint>

#include "transfer/rate_limiter.h"

namespace vhdxm::transfer {

/// Thread safety: none; the stream's thread. No clock of its own.
class StreamPacer {
 public:
  using TimePoint = RateLimiter::TimePoint;
  using Duration = RateLimiter::Duration;

  /// `limiter`: of the job; outlives this.
  explicit StreamPacer(RateLimiter& limiter) : limiter_(limiter) {}

  bool limited() const { return limiter_.rate() != 0; }
  /// What is worth sending at once: 3 ms of the whole rate, 32 KiB to 1 MiB, whole TLS records.
  ///
  /// A stream holds at most two turns and what it asked for. When a link that stood still goes on,
  /// all of these come at once: at 10 MiB/s over 16 streams 1 MiB, that is 1 % of what may go in
  /// 10 s; at higher rates 16 x 2 x 3 ms, 0.96 %. With the limiter's burst of 50 ms, 0.5 %, that is
  /// less than the 3 % within which a limit holds.
  std::uint64_t turn_bytes() const;

  /// Zero: `bytes` may go now, and are paid for. Else: how long to wait from `now` before asking
  /// again. Units: bytes on the wire.
  Duration ask(std::uint64_t bytes, TimePoint now);

 private:
  void take_turn(TimePoint now);

  RateLimiter& limiter_;
  std::uint64_t usable_bytes_ = 0;  ///< Paid for, not sent.
  std::uint64_t next_bytes_ = 0;    ///< Of the turn that was asked for; zero: none was.
  TimePoint next_at_{};             ///< When that turn comes.
};

}  // namespace vhdxm::transfer
