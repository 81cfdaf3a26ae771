// How the next extents are to travel: as they are, or compressed, and how hard.
//
// Whoever decides (a person, or auto_mode.h) sets a mix of two ways; streams ask for each extent
// which it is to be, and tell what came of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "compression/link_model.h"

namespace vhdxm::transfer {

/// What a person may ask for.
enum class Mode : std::uint8_t {
  kAuto,      ///< As the link, the processors and the destination have it at the moment.
  kPlain,     ///< As it is.
  kCompress,  ///< All that can be compressed, at one level.
};
const char* to_string(Mode mode);

/// Of `strong_share` of the extents the strong way, of the others the light one; a way is a level
/// of compression, or nothing for "as it is".
struct ModeMix {
  std::optional<int> light = {};
  std::optional<int> strong = {};
  double strong_share = 0;  ///< 0 to 1.

  friend bool operator==(const ModeMix&, const ModeMix&) = default;
};

/// Thread safety: all members may be called from any thread.
class ModeControl {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  /// What compression may take of this host's processors: `processors` of them, e.g. 0.5.
  /// Infinity: all there are.
  explicit ModeControl(ModeMix mix, double processors);

  void set(const ModeMix& mix);
  ModeMix mix() const;

  /// The way of the next extent. Once compression has had its share of the processors, extents go
  /// as they are until time has passed.
  std::optional<int> next(TimePoint now);

  /// What became of an extent that was to be compressed.
  struct Outcome {
    int level = 0;
    std::uint64_t raw_bytes = 0;
    std::uint64_t wire_bytes = 0;    ///< As long as raw_bytes: it went as it is.
    std::uint64_t processor_ns = 0;  ///< Of looking at it and of compressing it.
  };
  void note(const Outcome& outcome);

  /// Sums of all outcomes so far.
  struct Totals {
    std::uint64_t packed_bytes = 0;  ///< Of those: that travelled compressed, before compression.
    std::uint64_t saved_bytes = 0;   ///< What compression took off the wire.
    std::uint64_t processor_ns = 0;
    std::map<int, std::uint64_t> by_level = {};  ///< Of packed_bytes.
  };
  Totals totals() const;
  /// Of the bytes that were lately to be compressed, the share that was. 1 at first.
  double gaining() const;

  /// Asks that one of the streams finds out, with an extent that it sends anyway, what the levels
  /// up to `level_max` cost; take_costs() has it later, once.
  void ask_for_costs(int level_max);
  /// Up to which level a stream should; for one of them.
  std::optional<int> costs_wanted();
  void note_costs(std::vector<compression::LevelCost> costs);
  std::vector<compression::LevelCost> take_costs();

 private:
  bool has_processor_time_locked(TimePoint now);

  const double processors_;
  mutable std::mutex mutex_;
  // State below is protected by mutex_.
  ModeMix mix_;
  double strong_due_ = 0.5;  ///< Extents of the strong way that are owed.
  Totals totals_;
  double gaining_ = 1;
  std::optional<int> costs_wanted_;
  std::vector<compression::LevelCost> costs_;
  double credit_ns_ = 0;  ///< Processor time that compression may still take now.
  std::optional<TimePoint> credited_to_;
};

}  // namespace vhdxm::transfer
