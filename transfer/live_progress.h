// What a job that moves disks in use tells about itself, beside what any job does.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "transfer/convergence.h"

namespace vhdxm::transfer {

/// What one pass did. Units: bytes of the disks, whole pages; the last pass's of an attempt too.
struct PassReport {
  std::uint32_t pass = 0;
  bool held = false;                 ///< Writes were held when it began.
  std::uint64_t sent_bytes = 0;      ///< What the pass spoke of: of pass 1 the disks' payload.
  std::uint64_t mirrored_bytes = 0;  ///< Of that: for writes that waited for it.
  std::uint64_t marked_bytes = 0;    ///< What became dirty meanwhile.
  std::uint64_t dirty_bytes = 0;     ///< What was dirty when it ended.
  Convergence::Duration copying{};
  Convergence::Duration agreeing{};
  Convergence::Duration sync{};
};

enum class LivePhase : std::uint8_t {
  kCopying,  ///< The first pass.
  kPasses,
  kVerifying,  ///< After the first of them, if asked for: both sides read again.
  kWaiting,    ///< Ready; the hand-over is not asked for yet.
  kHeld,       ///< Writes wait; the last pass goes.
  kHandover,   ///< Writes wait; both sides write down who owns the disks.
  kReleased,   ///< The destination must confirm.
  kOwned,      ///< The destination owns the disks.
  kEnded,      ///< It came to nothing; writes go ahead.
};
const char* to_string(LivePhase phase);

/// How a live job stands.
struct LiveProgress {
  LivePhase phase = LivePhase::kCopying;
  std::uint32_t pass = 1;
  std::uint64_t dirty_bytes = 0;
  double copy_rate = 0;   ///< Bytes a second; 0: not known yet.
  double dirty_rate = 0;  ///< Bytes a second.
  std::optional<Convergence::Duration> predicted_pause;
  Convergence::Duration max_pause{};  ///< How long writes may wait, as it is now.
  std::uint64_t throttled_to = 0;     ///< Bytes a second of writes; 0: they are not slowed down.
  bool mirroring = false;             ///< Writes are acknowledged when both sides have them.
  std::uint64_t mirrored_bytes = 0;   ///< That were sent for writes that waited for it.
  std::uint64_t mirrored_writes = 0;  ///< That were acknowledged so.
  /// That did not wait to the end, or were too large to: they come with the passes.
  std::uint64_t mirrored_left = 0;
  unsigned mirror_stops = 0;  ///< Times that the other side did not answer them.
  unsigned holds_failed = 0;
  /// With --verify: that both sides read again, and had the same; nothing until that is done.
  std::optional<std::uint64_t> verified_bytes;
  /// That were left out of it, because they were written meanwhile.
  std::uint64_t verify_left_out_bytes = 0;
  /// How long writes were held, until they were refused or went ahead again: the last time.
  std::optional<Convergence::Duration> pause;
  std::vector<PassReport> passes;  ///< The last of them, at most 1000.
};

}  // namespace vhdxm::transfer
