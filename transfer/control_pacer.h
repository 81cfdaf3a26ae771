// Control under the limit of its job: what is long waits its turn like a stream, what is short goes
// at once and is paid for afterwards.
//
// The block plan of a 64 TiB disk is 16 MiB, more than a second of most limits. Acknowledgements,
// credit for hashes and the steps of the conversation are some bytes and must not wait.
#pragma once

#include <cstddef>
#include <cstdint>

#include "transfer/stream_pacer.h"

namespace vhdxm::transfer {

/// Thread safety: none; the control thread. No clock of its own.
class ControlPacer {
 public:
  /// Messages up to this go at once. Bytes.
  static constexpr std::size_t kShortBytes = 4096;

  /// `limiter`: of the job; outlives this.
  explicit ControlPacer(RateLimiter& limiter) : limiter_(limiter), turns_(limiter) {}

  /// How much of a message of which `left` bytes are left is written at once.
  std::size_t piece_bytes(std::size_t left) const;
  /// Zero: a piece that is `wire_bytes` on the wire may go now, and is paid for. Else: how long to
  /// wait from `now` before asking again. `message_bytes`: of the whole message.
  StreamPacer::Duration ask(std::size_t message_bytes, std::uint64_t wire_bytes,
                            StreamPacer::TimePoint now);

 private:
  RateLimiter& limiter_;
  StreamPacer turns_;
};

}  // namespace vhdxm::transfer
