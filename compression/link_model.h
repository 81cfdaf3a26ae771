// How fast a move will be, by arithmetic: what the CPUs, the disks and the link can do, against
// what each way of sending costs.
//
// One model for the advice before a move and for the choice during it: docs/compression.md has the
// formulas. It has no clock and does no I/O; all figures come from who measured them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "compression/compressor.h"

namespace vhdxm::compression {

/// In place of a level: extents are sent as they are.
inline constexpr int kLevelPlain = kLevelMin - 1;

/// What a way of sending costs for each byte of the disk, extents that are sent raw included.
struct LevelCost {
  int level = kLevelPlain;
  double ratio = 1;                  ///< Bytes on the wire.
  double compress_s_per_byte = 0;    ///< CPU seconds of the sender: probe, tries, compression.
  double decompress_s_per_byte = 0;  ///< CPU seconds of the receiver.

  friend bool operator==(const LevelCost&, const LevelCost&) = default;
};

/// What one side has, and what a byte costs it whatever the codec.
struct HostCost {
  double cores = 1;            ///< That the job may use. Greater than 0; a share is a fraction.
  double s_per_raw_byte = 0;   ///< CPU seconds: sender read and hash; receiver hash and write.
  double s_per_wire_byte = 0;  ///< CPU seconds: TLS and socket.
};

struct Conditions {
  static constexpr double kNoLimit = std::numeric_limits<double>::infinity();

  HostCost sender = {};
  HostCost receiver = {};
  /// Both sides run on the sender's cores; the receiver's are not looked at.
  bool one_machine = false;
  double link_bytes_per_s = kNoLimit;         ///< Payload that the link carries.
  double source_bytes_per_s = kNoLimit;       ///< Reading the source.
  double destination_bytes_per_s = kNoLimit;  ///< Writing the destination.
  double streams = 1;                         ///< Data streams, each a thread on both sides. >= 1.
  /// Of the sender's cores, what compression may take (--cpu-share). Greater than 0.
  double codec_cores = kNoLimit;
  double raw_bytes = 0;  ///< Of the disk, to move.
  double latency_s = 0;  ///< What a move takes besides.
  /// What the destination may not have synced yet when all has arrived: nothing else is done while
  /// it is. Where the destination's disk is the limit, syncing is what it does all the time.
  double unsynced_bytes = 0;
};

/// What bounds the rate.
enum class Limit : std::uint8_t {
  kNone,  ///< Nothing known does.
  kLink,
  kSenderCpu,
  kReceiverCpu,
  kSourceDisk,
  kDestinationDisk,
  kStreams,  ///< Each stream does one thing after the other; more streams would be faster.
};

std::string_view to_string(Limit limit);

struct Prediction {
  double seconds = 0;           ///< Of the whole move.
  double bytes_per_second = 0;  ///< Of the disk; infinite with Limit::kNone.
  double wire_bytes = 0;
  double sender_cpu_s = 0;
  double receiver_cpu_s = 0;
  Limit limit = Limit::kNone;
};

/// A share of the extents by one way of sending, the rest by another. Indices into a model's
/// rows().
struct Mix {
  std::size_t fast = 0;
  std::size_t strong = 0;
  double strong_share = 0;  ///< Range: 0 to 1.
};

/// Thread safety: const members may be called from any thread. None but the constructor allocates.
class LinkModel {
 public:
  /// `rows`: at least one, in any order; costs and ratios are not negative.
  explicit LinkModel(std::span<const LevelCost> rows);

  /// As given.
  std::span<const LevelCost> rows() const { return rows_; }
  /// Its costs are what the two rows cost, weighed by share; `level` is the
  /// strong row's, unless it has no share.
  LevelCost cost(const Mix& mix) const;

  /// Where `codec_cores` does not reach for all extents, as many as it reaches for are sent so and
  /// the rest plain.
  static Prediction predict(const LevelCost& wanted, const Conditions& conditions);
  Prediction predict(const Mix& mix, const Conditions& conditions) const {
    return predict(cost(mix), conditions);
  }

  /// The mix with the highest rate; of those that are within `tolerance` of it (0.02: 2 %), the one
  /// with the least CPU on both sides together. `fast` is the row with the greater ratio.
  /// Cost: rows^2 times some hundred operations.
  Mix best(const Conditions& conditions, double tolerance = 0.02) const;

  /// The rows that are worth using, from the one with the least CPU to the smallest; every other is
  /// slower than a mix of two of these, or as fast for more. Indices into rows(); at least one.
  std::span<const std::size_t> ladder() const { return ladder_; }
  /// Range of positions: 0 (the first row of the ladder) to this (the last).
  double position_max() const { return static_cast<double>(ladder_.size() - 1); }
  /// 1.25: three quarters of the extents by row 1 of the ladder, one by row 2. Clamped to the
  /// range.
  Mix at(double position) const;
  /// As best(), of the mixes on the ladder only.
  double best_position(const Conditions& conditions, double tolerance = 0.02) const;

 private:
  std::vector<LevelCost> rows_;
  std::vector<std::size_t> ladder_;
};

}  // namespace vhdxm::compression
