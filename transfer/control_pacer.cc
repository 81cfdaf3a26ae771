#include "transfer/control_pacer.h"

#include <algorithm>

namespace vhdxm::transfer {

std::size_t ControlPacer::piece_bytes(std::size_t left) const {
  if (!turns_.limited()) return left;
  return static_cast<std::size_t>(std::min<std::uint64_t>(left, turns_.turn_bytes()));
}

StreamPacer::Duration ControlPacer::ask(std::size_t message_bytes, std::uint64_t wire_bytes,
                                        StreamPacer::TimePoint now) {
  if (message_bytes > kShortBytes) return turns_.ask(wire_bytes, now);
  (void)limiter_.take(wire_bytes, now);
  return StreamPacer::Duration::zero();
}

}  // namespace vhdxm::transfer
