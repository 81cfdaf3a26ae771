#include "vhdx/block_plan.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "vhdx/disk_view.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::uint64_t kBlocksPerWord = 32;
constexpr std::uint64_t kWordsPerGroup = 32;
constexpr std::uint64_t kBlocksPerGroup = kBlocksPerWord * kWordsPerGroup;
constexpr std::uint64_t kGroupBytes = kBlocksPerGroup / 4;
/// The low bit of every 2-bit field.
constexpr std::uint64_t kLowBits = 0x5555555555555555;
constexpr const char* kPlanWhere = "block plan";

// Counts of blocks are kept in 32 bits.
static_assert(kVirtualSizeMax / kBlockBytesMin <= std::numeric_limits<std::uint32_t>::max());
// The blocks of a chunk are whole words of the plan: 2^23 sectors of at least 512 bytes.
static_assert(kSectorsPerBitmapBlock * 512 / kBlockBytesMax * 2 % 8 == 0);

std::uint64_t present_bits(std::uint64_t word) {
  return (word | word >> 1) & kLowBits;
}

}  // namespace

BlockPlan::BlockPlan(const Geometry& geometry)
    : geometry_(geometry),
      block_count_(geometry.block_count()),
      chunk_ratio_(geometry.chunk_ratio()),
      encoded_bytes_(static_cast<std::size_t>((block_count_ + 3) / 4)) {
  const std::uint64_t groups = (block_count_ + kBlocksPerGroup - 1) / kBlocksPerGroup;
  uses_.resize(static_cast<std::size_t>(groups * kGroupBytes));
  if (geometry_.type != DiskType::kFixed) return;
  std::fill_n(uses_.begin(), block_count_ / 4, std::byte{0x55});
  for (std::uint64_t block = block_count_ / 4 * 4; block < block_count_; ++block) {
    set(block, BlockUse::kFull);
  }
}

Result<BlockPlan> BlockPlan::of_disk(DiskView& disk) {
  BlockPlan plan(disk.geometry());
  if (plan.geometry_.type == DiskType::kFixed) return plan;
  std::array<PayloadState, 4096> states;
  for (std::uint64_t first = 0; first < plan.block_count_; first += states.size()) {
    const auto count = std::min<std::uint64_t>(states.size(), plan.block_count_ - first);
    const auto batch = std::span(states).first(static_cast<std::size_t>(count));
    VHDXM_TRY_VOID(disk.payload_states(first, batch));
    for (std::uint64_t i = 0; i < count; ++i) {
      switch (batch[static_cast<std::size_t>(i)]) {
        case PayloadState::kFullyPresent:
          plan.set(first + i, BlockUse::kFull);
          break;
        case PayloadState::kPartiallyPresent:
          plan.set(first + i, BlockUse::kPartial);
          break;
        default:
          break;
      }
    }
  }
  return plan;
}

void BlockPlan::set(std::uint64_t block, BlockUse use) {
  VHDXM_CHECK(block < block_count_ && !sealed());
  VHDXM_CHECK(use != BlockUse::kPartial || geometry_.type == DiskType::kDifferencing);
  const unsigned shift = static_cast<unsigned>(block % 4 * 2);
  std::byte& byte = uses_[static_cast<std::size_t>(block / 4)];
  byte = (byte & ~(std::byte{3} << shift)) | std::byte{static_cast<std::uint8_t>(use)} << shift;
}

BlockUse BlockPlan::use(std::uint64_t block) const {
  VHDXM_CHECK(block < block_count_);
  const std::byte byte = uses_[static_cast<std::size_t>(block / 4)];
  return static_cast<BlockUse>(std::to_integer<unsigned>(byte >> (block % 4 * 2)) & 3);
}

Result<void> BlockPlan::decode(std::uint64_t first_byte, std::span<const std::byte> bytes) {
  VHDXM_CHECK(!sealed());
  if (first_byte > encoded_bytes_ || bytes.size() > encoded_bytes_ - first_byte) {
    return Error{.code = BaseErrc::kOutOfRange,
                 .where = kPlanWhere,
                 .offset = first_byte,
                 .found = bytes.size(),
                 .expected = encoded_bytes_};
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = std::to_integer<std::uint64_t>(bytes[i]);
    // Blocks of this byte that exist: four, except in the last one.
    const std::uint64_t blocks = std::min<std::uint64_t>(4, block_count_ - (first_byte + i) * 4);
    const std::uint64_t existing = (std::uint64_t{1} << (blocks * 2)) - 1;
    const char* wrong = nullptr;
    if ((byte & ~existing) != 0) {
      wrong = "block plan: a block past the end of the disk";
    } else if ((byte & byte >> 1 & kLowBits) != 0) {
      wrong = "block plan: the value 3 means nothing";
    } else if (geometry_.type != DiskType::kDifferencing && (byte >> 1 & kLowBits) != 0) {
      wrong = "block plan: a partial block in a disk that has no parent";
    } else if (geometry_.type == DiskType::kFixed && byte != (kLowBits & existing)) {
      wrong = "block plan: an absent block in a fixed disk";
    }
    if (wrong != nullptr) {
      return Error{.code = BaseErrc::kInvalidArgument,
                   .where = wrong,
                   .offset = first_byte + i,
                   .found = byte};
    }
  }
  std::copy(bytes.begin(), bytes.end(), uses_.begin() + static_cast<std::ptrdiff_t>(first_byte));
  return {};
}

std::uint64_t BlockPlan::word(std::uint64_t index) const {
  std::uint64_t value;
  std::memcpy(&value, uses_.data() + index * sizeof value, sizeof value);
  return value;
}

void BlockPlan::seal(std::uint64_t payload_begin) {
  VHDXM_CHECK(!sealed() && payload_begin != 0 && payload_begin % kObjectAlignment == 0);
  const std::uint64_t groups = uses_.size() / kGroupBytes;
  present_before_group_.reserve(static_cast<std::size_t>(groups));
  std::uint64_t present = 0;
  const std::uint64_t chunks = geometry_.chunk_count();
  std::vector<bool> has_bitmap(static_cast<std::size_t>(chunks));
  for (std::uint64_t index = 0; index < groups * kWordsPerGroup; ++index) {
    if (index % kWordsPerGroup == 0) {
      present_before_group_.push_back(static_cast<std::uint32_t>(present));
    }
    const std::uint64_t uses = word(index);
    if (uses == 0) continue;
    present += static_cast<std::uint64_t>(std::popcount(present_bits(uses)));
    // A word holds the blocks of one chunk, or of two where a chunk is 16 blocks.
    for (std::uint64_t rest = uses >> 1 & kLowBits; rest != 0; rest &= rest - 1) {
      const auto block =
          index * kBlocksPerWord + static_cast<std::uint64_t>(std::countr_zero(rest)) / 2;
      has_bitmap[static_cast<std::size_t>(block / chunk_ratio_)] = true;
    }
  }
  std::uint32_t bitmaps = 0;
  bitmaps_before_chunk_.reserve(static_cast<std::size_t>(chunks + 1));
  for (const bool has : has_bitmap) {
    bitmaps_before_chunk_.push_back(bitmaps);
    bitmaps += has ? 1 : 0;
  }
  bitmaps_before_chunk_.push_back(bitmaps);
  present_count_ = present;
  payload_begin_ = payload_begin;
  // At most 64 TiB of blocks (one more than fits, where the last is cut) and 2^14 bitmap blocks.
  file_bytes_ = payload_begin + present * geometry_.block_bytes + bitmaps * kSectorBitmapBlockBytes;
}

std::uint64_t BlockPlan::present_before(std::uint64_t block) const {
  const std::uint64_t group = block / kBlocksPerGroup;
  if (group == present_before_group_.size()) return present_count_;
  std::uint64_t present = present_before_group_[static_cast<std::size_t>(group)];
  const std::uint64_t last = block / kBlocksPerWord;
  for (std::uint64_t index = group * kWordsPerGroup; index < last; ++index) {
    present += static_cast<std::uint64_t>(std::popcount(present_bits(word(index))));
  }
  const std::uint64_t bits = block % kBlocksPerWord * 2;
  if (bits != 0) {
    const std::uint64_t below = word(last) & ((std::uint64_t{1} << bits) - 1);
    present += static_cast<std::uint64_t>(std::popcount(present_bits(below)));
  }
  return present;
}

std::uint64_t BlockPlan::payload_offset(std::uint64_t block) const {
  VHDXM_CHECK(sealed() && use(block) != BlockUse::kAbsent);
  // The bitmap of the block's own chunk stands in front of it.
  const std::uint64_t bitmaps =
      bitmaps_before_chunk_[static_cast<std::size_t>(block / chunk_ratio_ + 1)];
  return payload_begin_ + present_before(block) * geometry_.block_bytes +
         bitmaps * kSectorBitmapBlockBytes;
}

std::optional<std::uint64_t> BlockPlan::bitmap_offset(std::uint64_t chunk) const {
  VHDXM_CHECK(sealed() && chunk + 1 < bitmaps_before_chunk_.size());
  const std::uint64_t before = bitmaps_before_chunk_[static_cast<std::size_t>(chunk)];
  if (bitmaps_before_chunk_[static_cast<std::size_t>(chunk + 1)] == before) return std::nullopt;
  return payload_begin_ + present_before(chunk * chunk_ratio_) * geometry_.block_bytes +
         before * kSectorBitmapBlockBytes;
}

std::uint64_t BlockPlan::next_present(std::uint64_t begin, std::uint64_t end) const {
  VHDXM_CHECK(end <= block_count_);
  while (begin < end) {
    const std::uint64_t index = begin / kBlocksPerWord;
    const std::uint64_t rest = present_bits(word(index)) >> (begin % kBlocksPerWord * 2);
    if (rest != 0) {
      return std::min(end, begin + static_cast<std::uint64_t>(std::countr_zero(rest)) / 2);
    }
    begin = (index + 1) * kBlocksPerWord;
  }
  return end;
}

}  // namespace vhdxm::vhdx
