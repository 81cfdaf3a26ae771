// Sector bitmaps: which sectors of a partially present block are in this file.
//
// Spec: [MS-VHDX] 2.4. One bit a logical sector, the lowest bit of a byte first; 1: this file, 0:
// the parent. Bits past the end of the disk mean nothing; Windows sets them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/file.h"
#include "vhdx/description.h"

namespace vhdxm::vhdx {

/// Bits [first, end) of a bitmap, read from the file.
class SectorBits {
 public:
  /// Reads the bits of sectors [first_sector, first_sector + sector_count) of a chunk, whose bitmap
  /// block stands at `bitmap_offset` of `file`.
  /// Range: the sectors lie inside the chunk; at most 2^19 of them (a block of 256 MiB), 64 KiB.
  static Result<SectorBits> read(File& file, std::uint64_t bitmap_offset,
                                 std::uint64_t first_sector, std::uint64_t sector_count);

  /// From bytes; `first_bit` is where in them sector 0 of the result stands.
  SectorBits(std::vector<std::byte> bytes, std::size_t first_bit, std::size_t sector_count);

  std::size_t sector_count() const { return sector_count_; }
  bool is_present(std::size_t sector) const;
  /// Where the run of equal bits that begins at `sector` ends. Requires: sector < sector_count().
  std::size_t run_end(std::size_t sector) const;

 private:
  std::vector<std::byte> bytes_;
  std::size_t first_bit_;
  std::size_t sector_count_;
};

/// The first sector of `block` in the bitmap of its chunk.
std::uint64_t first_sector_in_chunk(const Geometry& geometry, std::uint64_t block);

}  // namespace vhdxm::vhdx
