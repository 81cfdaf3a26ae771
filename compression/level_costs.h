// What each level costs on some data, and how small it becomes: measured on samples of it.
//
// Samples are treated as the extents of a move are: the probe first, and what does not save a
// sixteenth is sent as it is (compression/probe.h).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "compression/compressor.h"
#include "compression/link_model.h"

namespace vhdxm::compression {

struct LevelCosts {
  /// Plain, which costs nothing, then each level in the order in which it was asked for.
  std::vector<LevelCost> rows;
  std::size_t sample_count = 0;     ///< Samples that were measured, of those given.
  std::size_t sample_bytes = 0;     ///< Their bytes.
  std::size_t probed_no_bytes = 0;  ///< Of these, in samples that the probe found not worth trying.
  double cpu_s = 0;                 ///< CPU time that this took.
};

struct LevelCostOptions {
  std::span<const int> levels;  ///< That the compressor has.
  /// CPU seconds after which no further sample is begun. The first is always measured, and one that
  /// was begun is measured with all levels, so that rows compare the same data.
  double cpu_budget_s = 1;
};

/// Measures on `samples`, which are extents as they would be sent, not empty and each no longer
/// than `compressor` takes. If the budget does not reach for all, those that were measured lie
/// spread over them: the same ones for the same count. Times are CPU times of this thread. `packed`
/// and `unpacked`: room for the longest sample each. Errors: Errc, if a frame does not come back.
Result<LevelCosts> measure_level_costs(std::span<const std::span<const std::byte>> samples,
                                       const LevelCostOptions& options, Compressor& compressor,
                                       Decompressor& decompressor, std::span<std::byte> packed,
                                       std::span<std::byte> unpacked);

/// Scales what every level costs by what `level` was seen to cost elsewhere, in CPU seconds a byte:
/// where other processors that share a core with this one were at work (level 1 took 1.6 times as
/// long, docs/compression.md), or at another host. Nothing if it is not among `costs`.
void calibrate(std::span<LevelCost> costs, int level, double compress_s_per_byte,
               double decompress_s_per_byte);

}  // namespace vhdxm::compression
