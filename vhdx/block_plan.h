// Where every block of an arriving disk will stand, decided before its first byte arrives.
//
// The sender says of each payload block whether it has content (2 bits a block); from that both
// sides know the layout: blocks in virtual order, behind each other, the sector bitmap block of a
// chunk with partial blocks in front of the chunk's first block. So streams may bring extents in
// any order, the file comes out sorted, and no allocation state is needed to survive a crash.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "vhdx/description.h"

namespace vhdxm::vhdx {

class DiskView;

/// The numbers stand on the wire and are never changed.
enum class BlockUse : std::uint8_t {
  kAbsent = 0,   ///< No payload: zero, unmapped or transparent.
  kFull = 1,     ///< FULLY_PRESENT at the destination.
  kPartial = 2,  ///< PARTIALLY_PRESENT: has a sector bitmap. Only in differencing disks.
};

/// Memory: 2 bits a block and 4 bytes for each 1024: 16.3 MiB for the largest disk there can be.
/// Thread safety: const members after seal().
class BlockPlan {
 public:
  /// All blocks kAbsent; of a fixed disk, where every block has its room, kFull.
  /// Requires: a valid geometry.
  explicit BlockPlan(const Geometry& geometry);

  /// What `disk` holds. A fixed disk's blocks are all kFull. Reads the whole BAT.
  static Result<BlockPlan> of_disk(DiskView& disk);

  /// Requires: before seal(); kPartial in differencing disks only.
  void set(std::uint64_t block, BlockUse use);
  BlockUse use(std::uint64_t block) const;

  /// The plan as bytes, for the wire: four blocks a byte, the first in the lowest bits. Bits past
  /// the last block are zero.
  std::span<const std::byte> encoded() const { return {uses_.data(), encoded_bytes_}; }
  /// Takes over bytes [first_byte, ...) of the encoded form. After an error the plan is useless.
  /// Errors: out of range; a value 3; bits past the last block; kPartial where the disk is not
  /// differencing; not kFull where it is fixed.
  Result<void> decode(std::uint64_t first_byte, std::span<const std::byte> bytes);

  /// Fixes the layout. `payload_begin`: file offset of the first block, a multiple of 1 MiB.
  void seal(std::uint64_t payload_begin);
  bool sealed() const { return payload_begin_ != 0; }

  // After seal(). Units: bytes of the file, multiples of 1 MiB.
  /// Requires: use(block) != kAbsent.
  std::uint64_t payload_offset(std::uint64_t block) const;
  /// Where the chunk's sector bitmap block stands; nullopt if the chunk has no partial block.
  std::optional<std::uint64_t> bitmap_offset(std::uint64_t chunk) const;
  std::uint64_t payload_begin() const { return payload_begin_; }
  std::uint64_t file_bytes() const { return file_bytes_; }
  /// Blocks that are not kAbsent.
  std::uint64_t present_count() const { return present_count_; }
  /// The first block in [begin, end) that is not kAbsent; `end` if there is none.
  /// Requires: end <= block_count(). Cost: by the blocks looked at.
  std::uint64_t next_present(std::uint64_t begin, std::uint64_t end) const;

  const Geometry& geometry() const { return geometry_; }

 private:
  std::uint64_t word(std::uint64_t index) const;
  std::uint64_t present_before(std::uint64_t block) const;

  Geometry geometry_;
  std::uint64_t block_count_ = 0;
  std::uint64_t chunk_ratio_ = 0;
  std::size_t encoded_bytes_ = 0;
  std::vector<std::byte> uses_;  ///< The encoded form, rounded up to whole groups.
  std::vector<std::uint32_t> present_before_group_;  ///< Present blocks before each 1024 blocks.
  std::vector<std::uint32_t>
      bitmaps_before_chunk_;  ///< Bitmap blocks before each chunk, and in all.
  std::uint64_t payload_begin_ = 0;
  std::uint64_t file_bytes_ = 0;
  std::uint64_t present_count_ = 0;
};

}  // namespace vhdxm::vhdx
