#include "vhdx/bat_repair.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/hash128.h"
#include "vhdx/bat.h"
#include "vhdx/space_map.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::size_t kSectorEntries = kLogSectorBytes / kBatEntryBytes;
constexpr std::size_t kPieceSectors = 64;

enum Kind : std::size_t {
  kPastTheEnd,
  kBitmapOfNoChild,
  kPlaceOfNotPresent,
  kPlaceOfZero,
  kReservedBits,
  kLostAnchor,
  kKinds
};

constexpr std::array<BatMend, kKinds> kNames = {{
    {"2.5", "entries past the last block of the disk"},
    {"2.5.1.2", "sector bitmap entries that stood for nothing"},
    {"2.5.1.1", "FileOffsetMB fields of NOT_PRESENT blocks"},
    {"2.5.1.1", "FileOffsetMB fields of ZERO blocks"},
    {"2.5.1", "entries of absent blocks with reserved bits"},
    {"2.5.1.1", "places kept by absent blocks that are beyond the file or another object's"},
}};

class BatSurvey {
 public:
  BatSurvey(Layer& layer, std::uint64_t file_bytes)
      : layer_(layer),
        geometry_(layer.geometry()),
        file_bytes_(std::min(file_bytes, kFileBytesMax)),
        space_(file_bytes_) {
    repair_.mends.assign(kNames.begin(), kNames.end());
  }

  Result<BatRepair> run() {
    take_named_space();
    VHDXM_TRY_VOID(for_each_sector([this](std::uint64_t first, std::span<Le64> entries) {
      for (std::size_t i = 0; i < entries.size(); ++i) take_block(first + i, entries[i]);
    }));
    VHDXM_TRY_VOID(for_each_sector(
        [this](std::uint64_t first, std::span<Le64> entries) { put_right(first, entries); }));
    std::erase_if(repair_.mends, [](const BatMend& mend) { return mend.count == 0; });
    return std::move(repair_);
  }

 private:
  void take_named_space() {
    const Header& header = layer_.header();
    space_.take_named("the header section", 0, kHeaderSectionBytes);
    if (header.log_length != 0) space_.take_named("the log", header.log_offset, header.log_length);
    for (const Region& region : layer_.regions().entries) {
      if (region.length != 0) space_.take_named("a region", region.file_offset, region.length);
    }
  }

  /// Visits whole sectors of the BAT that are not all zero; a zero entry is never wrong.
  template <class Visit>
  Result<void> for_each_sector(Visit visit) {
    std::vector<Le64> piece(kPieceSectors * kSectorEntries);
    const std::uint64_t count = geometry_.bat_entry_count();
    for (std::uint64_t first = 0; first < count; first += piece.size()) {
      // The region is a multiple of 1 MiB, so whole sectors are there to be read.
      const std::uint64_t sectors = std::min<std::uint64_t>(
          kPieceSectors, (count - first + kSectorEntries - 1) / kSectorEntries);
      const auto entries = std::span(piece).first(sectors * kSectorEntries);
      VHDXM_TRY_VOID(read_exact_at(layer_.file(), layer_.bat().entry_offset(first),
                                   std::as_writable_bytes(entries), "BAT, [MS-VHDX] 2.5"));
      if (all_zero(std::as_bytes(entries))) continue;
      for (std::size_t at = 0; at < entries.size(); at += kSectorEntries) {
        visit(first + at, entries.subspan(at, kSectorEntries));
      }
    }
    return {};
  }

  bool is_bitmap(std::uint64_t index) const {
    return index % (geometry_.chunk_ratio() + 1) == geometry_.chunk_ratio();
  }
  bool is_past_the_end(std::uint64_t index) const {
    const std::uint64_t ratio = geometry_.chunk_ratio();
    const std::uint64_t block = index / (ratio + 1) * ratio + index % (ratio + 1);
    return !is_bitmap(index) && block >= geometry_.block_count();
  }
  bool is_child() const { return geometry_.type == DiskType::kDifferencing; }

  void take(std::uint64_t place, std::uint64_t length) {
    static_cast<void>(space_.take(place, length));
    repair_.blocks_end = std::max(repair_.blocks_end, place + length);
  }

  void take_block(std::uint64_t index, std::uint64_t raw) {
    if (index >= geometry_.bat_entry_count() || is_past_the_end(index)) return;
    const std::uint64_t state = bat_entry_state(raw);
    if (is_bitmap(index)) {
      if (is_child() && state == 6) take(bat_entry_offset(raw), kSectorBitmapBlockBytes);
    } else if (state >= 6) {
      take(bat_entry_offset(raw), geometry_.block_bytes);
    }
  }

  /// The entry as it should be, and what was wrong with it.
  std::pair<std::uint64_t, std::size_t> right(std::uint64_t index, std::uint64_t raw) {
    const std::uint64_t state = bat_entry_state(raw);
    const std::uint64_t place = bat_entry_offset(raw);
    if (is_past_the_end(index)) return {0, kPastTheEnd};
    if (is_bitmap(index)) {
      if (is_child() && state == 6) return {raw, kKinds};
      return {0, is_child() ? kReservedBits : kBitmapOfNoChild};
    }
    if (state >= 6) return {raw, kKinds};
    if (state == 0) return {0, place != 0 ? kPlaceOfNotPresent : kReservedBits};
    if (state == 2) return {state, place != 0 ? kPlaceOfZero : kReservedBits};
    // UNDEFINED and UNMAPPED blocks may keep a place, if it is theirs alone.
    if (place != 0) {
      const std::uint64_t length = geometry_.block_bytes;
      const bool inside = place <= file_bytes_ && length <= file_bytes_ - place;
      if (!inside || space_.first_taken(place, length)) return {state, kLostAnchor};
      take(place, length);
    }
    return {place | state, kReservedBits};
  }

  void put_right(std::uint64_t first, std::span<Le64> entries) {
    std::array<std::pair<std::size_t, std::uint64_t>, kSectorEntries> wrong;  // Kind and index.
    std::size_t wrong_count = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const std::uint64_t index = first + i;
      if (index >= geometry_.bat_entry_count() || entries[i] == 0) continue;
      const auto [raw, kind] = right(index, entries[i]);
      if (raw == entries[i]) continue;
      entries[i] = raw;
      wrong[wrong_count++] = {kind, index};
    }
    if (wrong_count == 0 || repair_.sectors.size() == kBatSectorsMax) return;
    for (const auto& [kind, index] : std::span(wrong).first(wrong_count)) {
      BatMend& mend = repair_.mends[kind];
      if (mend.count++ == 0) mend.first_offset = layer_.bat().entry_offset(index);
    }
    LogPageUpdate change{.file_offset = layer_.bat().entry_offset(first), .bytes = {}};
    const auto bytes = std::as_bytes(entries);
    std::copy(bytes.begin(), bytes.end(), change.bytes.begin());
    repair_.sectors.push_back(change);
  }

  Layer& layer_;
  const Geometry& geometry_;
  const std::uint64_t file_bytes_;
  SpaceMap space_;
  BatRepair repair_;
};

}  // namespace

Result<BatRepair> survey_bat(Layer& layer) {
  VHDXM_TRY(const std::uint64_t file_bytes, layer.file().size());
  return BatSurvey(layer, file_bytes).run();
}

}  // namespace vhdxm::vhdx
