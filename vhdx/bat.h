// The block allocation table: the state and place of every block, read page by page.
//
// Spec: [MS-VHDX] 2.5. The BAT of the largest disk is 513 MiB, so pages are read as they are asked
// for, and few are kept. Every entry is proved on its way out; a proof over all of them (that no
// two blocks share a place) is Layer::validate_bat()'s.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/file.h"
#include "vhdx/description.h"
#include "vhdx/region_table.h"

namespace vhdxm::vhdx {

/// A payload block as its entry describes it.
struct PayloadEntry {
  PayloadState state = PayloadState::kNotPresent;  ///< Never kUnmappedV095: that is kUnmapped.
  std::uint64_t file_offset = 0;  ///< Bytes; only of the two present states, otherwise zero.
};

/// Splits an entry without judging it. The offset is in bytes; it cannot wrap, as it is the entry
/// without its lower 20 bits.
constexpr std::uint64_t bat_entry_state(std::uint64_t raw) {
  return raw & kBatStateMask;
}
constexpr std::uint64_t bat_entry_offset(std::uint64_t raw) {
  return raw >> kBatOffsetShift << kBatOffsetShift;
}
constexpr std::uint64_t bat_entry_reserved(std::uint64_t raw) {
  return raw & ~kBatStateMask & ((std::uint64_t{1} << kBatOffsetShift) - 1);
}

/// Memory: at most kPagesMax pages of kPageEntries * 8 bytes, 4 MiB.
/// Thread safety: all members may be called from any thread.
class Bat {
 public:
  static constexpr std::size_t kPageEntries = 8192;
  static constexpr std::size_t kPagesMax = 64;

  /// Requires: `geometry` is valid, `table` and `header` were validated; `file` outlives the Bat.
  /// Errors: Errc::kBadRegionTable if the region has too little room for the disk's entries.
  static Result<std::unique_ptr<Bat>> open(File& file, const Header& header,
                                           const RegionTable& table, const Geometry& geometry);

  /// The entries of blocks [first_block, first_block + out.size()), proved one by one.
  /// Requires: the blocks exist.
  /// Errors: Errc::kBadBatEntry, kOutsideFile, kOverlap (with header, log or a region).
  Result<void> payload(std::uint64_t first_block, std::span<PayloadEntry> out);

  /// Bytes of the file where the sector bitmap block of `chunk` stands; nullopt if there is none.
  /// Requires: a differencing disk. (Elsewhere these entries mean nothing, and some programs set
  /// them.) Errors: as payload().
  Result<std::optional<std::uint64_t>> sector_bitmap(std::uint64_t chunk);

  /// Entries as they stand, unproved. Requires: inside bat_entry_count().
  Result<void> read_raw(std::uint64_t first_index, std::span<std::uint64_t> out);

  /// Bytes of the file where entry `index` stands, for errors.
  std::uint64_t entry_offset(std::uint64_t index) const {
    return region_offset_ + index * kBatEntryBytes;
  }

  /// Proves one payload entry. Requires: index == geometry.payload_bat_index(block).
  Result<PayloadEntry> decode_payload(std::uint64_t raw, std::uint64_t block,
                                      std::uint64_t index) const;
  Result<std::optional<std::uint64_t>> decode_sector_bitmap(std::uint64_t raw,
                                                            std::uint64_t index) const;

  /// Who writes the file made it longer: entries up to there are good from now on.
  void note_file_bytes(std::uint64_t bytes) { file_bytes_.store(bytes, std::memory_order_relaxed); }

  /// Reads the whole BAT past any cache, and hands out every entry that is not zero. Holes of the
  /// file are not read. Errors: of reading; what `visit` returns.
  Result<void> for_each_entry(
      const std::function<Result<void>(std::uint64_t index, std::uint64_t raw)>& visit);

 private:
  using Page = std::array<Le64, kPageEntries>;
  struct CachedPage {
    std::uint64_t number = 0;
    std::uint64_t last_use = 0;
    std::shared_ptr<const Page> page;
  };
  struct Range {
    std::uint64_t begin;
    std::uint64_t end;
  };

  Bat(File& file, const Geometry& geometry) : file_(file), geometry_(geometry) {}

  Result<std::shared_ptr<const Page>> page(std::uint64_t number);
  /// Proves that `length` bytes at `offset` are free for a block.
  Result<void> validate_place(std::uint64_t offset, std::uint64_t length,
                              std::uint64_t length_in_file, std::uint64_t index) const;

  // Constant after open().
  File& file_;
  const Geometry geometry_;
  std::uint64_t region_offset_ = 0;
  std::uint64_t entry_count_ = 0;
  std::atomic<std::uint64_t> file_bytes_ = 0;
  std::vector<Range> taken_;  ///< Log and regions, sorted, apart from each other.

  std::mutex mutex_;
  // State below is protected by mutex_.
  std::vector<CachedPage> cache_;
  std::uint64_t uses_ = 0;
};

}  // namespace vhdxm::vhdx
