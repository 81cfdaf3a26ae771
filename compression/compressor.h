// Extents to zstd frames and back, without allocating.
//
// Each extent is one frame (RFC 8878) that needs nothing but itself, so that any stream can carry
// it, in any order, and again. Frames carry their content size and no checksum: the frame header of
// transfer/ has a hash of the raw bytes. What is decoded comes from the network and is not trusted.
//
// Memory of a Compressor by `level_max`, for extents of 256 KiB and more, as memory_bytes() has it:
//   level_max   -7..-1    0..3      4         5..12
//   KiB         536       1272      2552      3576
// (Level 0 is zstd's default, its level 3.) A Decompressor takes 94 KiB.
// Matches are looked for within the extent, at most 1 MiB back, in tables of at most 2^19 entries:
// measured on 1 MiB extents this costs 0.2 % of ratio at levels 9 to 12, which are then faster.
// No level uses zstd's block splitter or optimal parser: up to 1.5.4 the splitter could corrupt
// data (facebook/zstd pull request 3517), and they cost more than a link saves.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "base/result.h"
#include "compression/workspace.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace vhdxm::compression {

/// The levels that can be asked for; a greater one is smaller and slower.
inline constexpr int kLevelMin = -7;
inline constexpr int kLevelMax = 12;
/// The largest window that a frame may ask for, unless the extent is larger: what every decoder
/// supports (RFC 8878, 3.1.1.1.2). Bytes.
inline constexpr std::size_t kWindowBytesMax = std::size_t{8} << 20;

/// Thread safety: one thread at a time.
class Compressor {
 public:
  /// For extents of up to `raw_bytes_max` bytes and levels from kLevelMin to `level_max`, which is
  /// in that range. All memory that it will ever need is reserved here.
  Compressor(std::size_t raw_bytes_max, int level_max);
  /// Bytes that such a compressor reserves.
  static std::size_t memory_bytes(std::size_t raw_bytes_max, int level_max);

  /// One frame with the content of `raw` into `out`. Returns its length, or nothing if it is longer
  /// than `out`: pass an `out` that is just as long as is worth it. What stands in `out` then is
  /// not specified. `level`: from kLevelMin to this compressor's maximum; it may change with each
  /// call. Cost: no allocation.
  std::optional<std::size_t> compress(std::span<const std::byte> raw, int level,
                                      std::span<std::byte> out);

 private:
  void set_level(int level);

  std::size_t raw_bytes_max_;
  int level_max_;
  Workspace workspace_;
  ZSTD_CCtx_s* context_;  ///< Lives in workspace_.
  std::optional<int> level_;
};

/// Thread safety: one thread at a time.
class Decompressor {
 public:
  Decompressor();
  /// Bytes that a decompressor reserves.
  static std::size_t memory_bytes();

  /// The content of the one frame in `packed`, which fills `raw` exactly. Never writes outside
  /// `raw`, and never allocates. After an error the content of `raw` is not specified. Errors:
  /// Errc, naming the rule that `packed` breaks.
  Result<void> decompress(std::span<const std::byte> packed, std::span<std::byte> raw);

 private:
  Workspace workspace_;
  ZSTD_DCtx_s* context_;  ///< Lives in workspace_.
};

}  // namespace vhdxm::compression
