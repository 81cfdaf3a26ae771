#include "transfer/stream_pacer.h"

#include <algorithm>

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kTurnBytesMin = 32 * 1024;
constexpr std::uint64_t kTurnBytesMax = 1024 * 1024;
constexpr std::uint64_t kRecordBytes = 16 * 1024;
constexpr std::uint64_t kTurnsPerSecond = 333;

}  // namespace

std::uint64_t StreamPacer::turn_bytes() const {
  const std::uint64_t wanted = limiter_.rate() / kTurnsPerSecond;
  return std::clamp(wanted - wanted % kRecordBytes, kTurnBytesMin, kTurnBytesMax);
}

void StreamPacer::take_turn(TimePoint now) {
  usable_bytes_ += next_bytes_;
  next_bytes_ = turn_bytes();
  next_at_ = now + limiter_.take(next_bytes_, now);
}

StreamPacer::Duration StreamPacer::ask(std::uint64_t bytes, TimePoint now) {
  if (!limited()) return Duration::zero();
  if (next_bytes_ == 0) take_turn(now);
  while (usable_bytes_ < bytes) {
    if (now < next_at_) return next_at_ - now;
    take_turn(now);
  }
  usable_bytes_ -= bytes;
  return Duration::zero();
}

}  // namespace vhdxm::transfer
