#include "vhdx/bat_writer.h"

#include <algorithm>
#include <vector>

#include "vhdx/bitmap_bits.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::uint64_t kPieceEntries = 64 * kKiB / kBatEntryBytes;

std::uint64_t entry(PayloadState state, std::uint64_t file_offset = 0) {
  return file_offset | static_cast<std::uint64_t>(state);
}

class BatEncoder {
 public:
  BatEncoder(File& file, const BlockPlan& plan, std::span<const std::byte> absent_states)
      : file_(file),
        plan_(plan),
        absent_states_(absent_states),
        block_count_(plan.geometry().block_count()),
        chunk_ratio_(plan.geometry().chunk_ratio()) {}

  /// Whether entries [first, first + count) are all zero: no block, no state, no bitmap.
  bool is_empty(std::uint64_t first, std::uint64_t count) const {
    const std::uint64_t begin = block_at_or_after(first);
    const std::uint64_t end = block_at_or_after(first + count);
    // A bitmap entry alone may fall into this piece while its blocks are in the one before.
    const std::uint64_t chunk_begin = begin / chunk_ratio_ * chunk_ratio_;
    const std::uint64_t from =
        begin == chunk_begin && begin != 0 ? begin - chunk_ratio_ : chunk_begin;
    if (plan_.next_present(from, end) < end) return false;
    if (absent_states_.empty() || begin >= end) return true;
    const auto states = absent_states_.subspan(begin / 4, (end + 3) / 4 - begin / 4);
    return std::all_of(states.begin(), states.end(),
                       [](std::byte byte) { return byte == std::byte{0}; });
  }

  Result<std::uint64_t> at(std::uint64_t index) const {
    const std::uint64_t chunk = index / (chunk_ratio_ + 1);
    const std::uint64_t in_chunk = index % (chunk_ratio_ + 1);
    if (in_chunk == chunk_ratio_) {
      const auto offset = plan_.bitmap_offset(chunk);
      return offset ? *offset | static_cast<std::uint64_t>(SectorBitmapState::kPresent) : 0;
    }
    const std::uint64_t block = chunk * chunk_ratio_ + in_chunk;
    // The last chunk of a differencing disk has entries for blocks past the end of the disk.
    if (block >= block_count_) return std::uint64_t{0};
    switch (plan_.use(block)) {
      case BlockUse::kAbsent:
        return entry(absent_state(block));
      case BlockUse::kFull:
        return entry(PayloadState::kFullyPresent, plan_.payload_offset(block));
      case BlockUse::kPartial:
        break;
    }
    VHDXM_TRY(const bool all_present, all_sectors_present(block));
    return entry(all_present ? PayloadState::kFullyPresent : PayloadState::kPartiallyPresent,
                 plan_.payload_offset(block));
  }

 private:
  /// The first block whose entry is at or after `index`.
  std::uint64_t block_at_or_after(std::uint64_t index) const {
    const std::uint64_t block =
        index / (chunk_ratio_ + 1) * chunk_ratio_ + index % (chunk_ratio_ + 1);
    return std::min(block, block_count_);
  }

  PayloadState absent_state(std::uint64_t block) const {
    if (absent_states_.empty()) return PayloadState::kNotPresent;
    const auto byte = std::to_integer<unsigned>(absent_states_[block / 4]);
    switch (static_cast<AbsentState>(byte >> (block % 4 * 2) & 3)) {
      case AbsentState::kZero:
        return PayloadState::kZero;
      case AbsentState::kUnmapped:
        return PayloadState::kUnmapped;
      case AbsentState::kNotPresent:
        break;
    }
    return PayloadState::kNotPresent;
  }

  Result<bool> all_sectors_present(std::uint64_t block) const {
    const Geometry& geometry = plan_.geometry();
    const std::uint64_t sectors_per_block = geometry.block_bytes / geometry.logical_sector_bytes;
    const std::uint64_t disk_sectors = geometry.virtual_size_bytes / geometry.logical_sector_bytes;
    const std::uint64_t first = block * sectors_per_block;
    return all_bits_set(file_, *plan_.bitmap_offset(block / chunk_ratio_),
                        first % kSectorsPerBitmapBlock,
                        std::min(sectors_per_block, disk_sectors - first));
  }

  File& file_;
  const BlockPlan& plan_;
  const std::span<const std::byte> absent_states_;
  const std::uint64_t block_count_;
  const std::uint64_t chunk_ratio_;
};

}  // namespace

Result<void> write_bat(File& file, std::uint64_t bat_offset, const BlockPlan& plan,
                       std::span<const std::byte> absent_states) {
  const BatEncoder encoder(file, plan, absent_states);
  const std::uint64_t entries = plan.geometry().bat_entry_count();
  std::vector<std::byte> piece(kPieceEntries * kBatEntryBytes);
  for (std::uint64_t first = 0; first < entries; first += kPieceEntries) {
    const std::uint64_t count = std::min(kPieceEntries, entries - first);
    if (encoder.is_empty(first, count)) continue;
    for (std::uint64_t i = 0; i < count; ++i) {
      VHDXM_TRY(const std::uint64_t value, encoder.at(first + i));
      store_raw(piece.data() + i * kBatEntryBytes, Le64(value));
    }
    VHDXM_TRY_VOID(file.write_at(
        bat_offset + first * kBatEntryBytes,
        std::span<const std::byte>(piece).first(static_cast<std::size_t>(count * kBatEntryBytes))));
  }
  return {};
}

}  // namespace vhdxm::vhdx
