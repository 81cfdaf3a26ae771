#include "vhdx/bat.h"

#include <algorithm>

#include "base/check.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {

Result<std::unique_ptr<Bat>> Bat::open(File& file, const Header& header, const RegionTable& table,
                                       const Geometry& geometry) {
  auto bat = std::unique_ptr<Bat>(new Bat(file, geometry));
  const Region& region = table.bat();
  bat->region_offset_ = region.file_offset;
  bat->entry_count_ = geometry.bat_entry_count();
  const std::uint64_t needed = bat->entry_count_ * kBatEntryBytes;  // < 2^30
  if (region.length < needed) {
    return format_error(Errc::kBadRegionTable,
                        "the BAT region is too small for the disk's blocks, [MS-VHDX] 2.5",
                        region.file_offset, region.length, needed);
  }
  VHDXM_TRY(const std::uint64_t file_bytes, file.size());
  // Nothing of a disk lies farther out; and what adds up places cannot wrap.
  bat->file_bytes_ = std::min(file_bytes, kFileBytesMax);
  for (const Region& taken : table.entries) {
    if (taken.length != 0) bat->taken_.push_back({taken.file_offset, taken.end()});
  }
  if (header.log_length != 0) bat->taken_.push_back({header.log_offset, header.log_end()});
  std::sort(bat->taken_.begin(), bat->taken_.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  return bat;
}

Result<std::shared_ptr<const Bat::Page>> Bat::page(std::uint64_t number) {
  const auto find = [&]() -> CachedPage* {
    for (CachedPage& cached : cache_) {
      if (cached.number == number) return &cached;
    }
    return nullptr;
  };
  {
    const std::lock_guard lock(mutex_);
    if (CachedPage* cached = find()) {
      cached->last_use = ++uses_;
      return cached->page;
    }
  }
  auto page = std::make_shared<Page>();
  const std::uint64_t first = number * kPageEntries;
  const std::size_t count =
      static_cast<std::size_t>(std::min<std::uint64_t>(kPageEntries, entry_count_ - first));
  VHDXM_TRY_VOID(read_exact_at(file_, entry_offset(first),
                               std::as_writable_bytes(std::span(*page).first(count)),
                               "BAT, [MS-VHDX] 2.5"));
  const std::lock_guard lock(mutex_);
  if (CachedPage* cached = find()) return cached->page;  // somebody was faster
  if (cache_.size() < kPagesMax) {
    cache_.push_back({number, ++uses_, page});
  } else {
    const auto oldest = std::min_element(
        cache_.begin(), cache_.end(),
        [](const CachedPage& a, const CachedPage& b) { return a.last_use < b.last_use; });
    *oldest = {number, ++uses_, page};
  }
  return std::shared_ptr<const Page>(std::move(page));
}

Result<void> Bat::read_raw(std::uint64_t first_index, std::span<std::uint64_t> out) {
  VHDXM_CHECK(first_index <= entry_count_ && out.size() <= entry_count_ - first_index);
  for (std::size_t done = 0; done < out.size();) {
    const std::uint64_t index = first_index + done;
    VHDXM_TRY(const auto entries, page(index / kPageEntries));
    const auto in_page = static_cast<std::size_t>(index % kPageEntries);
    const std::size_t count = std::min(out.size() - done, kPageEntries - in_page);
    for (std::size_t i = 0; i < count; ++i) out[done + i] = (*entries)[in_page + i];
    done += count;
  }
  return {};
}

Result<void> Bat::for_each_entry(
    const std::function<Result<void>(std::uint64_t index, std::uint64_t raw)>& visit) {
  auto page = std::make_unique<Page>();
  const std::uint64_t end = entry_offset(entry_count_);
  for (std::uint64_t at = region_offset_; at < end;) {
    VHDXM_TRY(const File::DataRun run, file_.next_data(at));
    if (run.begin >= end || run.begin >= run.end) break;
    // From the entry that the data begins in: a hole may end anywhere.
    at = std::max(at, run.begin) / kBatEntryBytes * kBatEntryBytes;
    const std::uint64_t stop = std::min(end, run.end);
    while (at < stop) {
      const std::uint64_t first = (at - region_offset_) / kBatEntryBytes;
      const auto count = static_cast<std::size_t>(
          std::min<std::uint64_t>(kPageEntries, (stop - at + kBatEntryBytes - 1) / kBatEntryBytes));
      VHDXM_TRY_VOID(read_exact_at(file_, at, std::as_writable_bytes(std::span(*page).first(count)),
                                   "BAT, [MS-VHDX] 2.5"));
      for (std::size_t i = 0; i < count; ++i) {
        if ((*page)[i] != 0) VHDXM_TRY_VOID(visit(first + i, (*page)[i]));
      }
      at += count * kBatEntryBytes;
    }
  }
  return {};
}

Result<void> Bat::payload(std::uint64_t first_block, std::span<PayloadEntry> out) {
  VHDXM_CHECK(first_block <= geometry_.block_count() &&
              out.size() <= geometry_.block_count() - first_block);
  const std::uint64_t ratio = geometry_.chunk_ratio();
  std::array<std::uint64_t, 256> raw;
  for (std::size_t done = 0; done < out.size();) {
    // Entries of one chunk stand behind each other; between chunks there is a bitmap entry.
    const std::uint64_t block = first_block + done;
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>({out.size() - done, raw.size(), ratio - block % ratio}));
    const std::uint64_t index = geometry_.payload_bat_index(block);
    VHDXM_TRY_VOID(read_raw(index, std::span(raw).first(count)));
    for (std::size_t i = 0; i < count; ++i) {
      // Most entries of a large disk are zero; this takes half of the time of a map.
      if (raw[i] == 0) {
        out[done + i] = PayloadEntry{};
        continue;
      }
      VHDXM_TRY(out[done + i], decode_payload(raw[i], block + i, index + i));
    }
    done += count;
  }
  return {};
}

Result<std::optional<std::uint64_t>> Bat::sector_bitmap(std::uint64_t chunk) {
  VHDXM_CHECK(geometry_.type == DiskType::kDifferencing && chunk < geometry_.chunk_count());
  const std::uint64_t index = geometry_.bitmap_bat_index(chunk);
  std::array<std::uint64_t, 1> raw;
  VHDXM_TRY_VOID(read_raw(index, raw));
  return decode_sector_bitmap(raw[0], index);
}

Result<PayloadEntry> Bat::decode_payload(std::uint64_t raw, std::uint64_t block,
                                         std::uint64_t index) const {
  switch (bat_entry_state(raw)) {
    // Of blocks that are not here, offset and reserved bits are not used, so not judged: images
    // with something there exist.
    case 0:
      return PayloadEntry{PayloadState::kNotPresent, 0};
    case 1:
      return PayloadEntry{PayloadState::kUndefined, 0};
    case 2:
      return PayloadEntry{PayloadState::kZero, 0};
    case 3:
    case 5:  // UNMAPPED in the 0.95 draft
      return PayloadEntry{PayloadState::kUnmapped, 0};
    case 6:
      break;
    case 7:
      if (geometry_.type == DiskType::kDifferencing) break;
      return format_error(Errc::kBadBatEntry,
                          "PARTIALLY_PRESENT in a disk without a parent, [MS-VHDX] 2.5.1.1",
                          entry_offset(index), raw);
    default:
      return format_error(Errc::kBadBatEntry,
                          "payload block state 4 is reserved, [MS-VHDX] 2.5.1.1",
                          entry_offset(index), raw);
  }
  if (bat_entry_reserved(raw) != 0) {
    return format_error(Errc::kBadBatEntry, "reserved bits 3-19 must be zero, [MS-VHDX] 2.5.1",
                        entry_offset(index), raw);
  }
  const PayloadEntry entry{static_cast<PayloadState>(bat_entry_state(raw)), bat_entry_offset(raw)};
  // The file may end where the disk ends, inside its last block: QEMU leaves fixed disks like that.
  const std::uint64_t in_disk = std::min<std::uint64_t>(
      geometry_.block_bytes, geometry_.virtual_size_bytes - block * geometry_.block_bytes);
  VHDXM_TRY_VOID(validate_place(entry.file_offset, geometry_.block_bytes, in_disk, index));
  return entry;
}

Result<std::optional<std::uint64_t>> Bat::decode_sector_bitmap(std::uint64_t raw,
                                                               std::uint64_t index) const {
  switch (bat_entry_state(raw)) {
    case static_cast<std::uint64_t>(SectorBitmapState::kNotPresent):
      return std::optional<std::uint64_t>{};
    case static_cast<std::uint64_t>(SectorBitmapState::kPresent):
      break;
    default:
      return format_error(Errc::kBadBatEntry,
                          "sector bitmap states other than 0 and 6 are reserved, [MS-VHDX] 2.5.1.2",
                          entry_offset(index), raw);
  }
  if (bat_entry_reserved(raw) != 0) {
    return format_error(Errc::kBadBatEntry, "reserved bits 3-19 must be zero, [MS-VHDX] 2.5.1",
                        entry_offset(index), raw);
  }
  const std::uint64_t offset = bat_entry_offset(raw);
  VHDXM_TRY_VOID(validate_place(offset, kSectorBitmapBlockBytes, kSectorBitmapBlockBytes, index));
  return std::optional<std::uint64_t>{offset};
}

Result<void> Bat::validate_place(std::uint64_t offset, std::uint64_t length,
                                 std::uint64_t length_in_file, std::uint64_t index) const {
  if (offset < kHeaderSectionBytes) {
    return format_error(Errc::kOverlap, "FileOffsetMB lies in the header section, [MS-VHDX] 2.5.1",
                        entry_offset(index), offset);
  }
  const std::uint64_t file_bytes = file_bytes_.load(std::memory_order_relaxed);
  if (offset > file_bytes || length_in_file > file_bytes - offset) {
    return format_error(Errc::kOutsideFile, "a block ends beyond the file, [MS-VHDX] 2.5.1",
                        entry_offset(index), offset, file_bytes);
  }
  // offset <= kFileBytesMax, so the sum cannot wrap.
  const auto behind =
      std::upper_bound(taken_.begin(), taken_.end(), offset,
                       [](std::uint64_t place, const Range& range) { return place < range.end; });
  if (behind != taken_.end() && behind->begin < offset + length) {
    return format_error(Errc::kOverlap, "a block lies in the log or in a region, [MS-VHDX] 2.5.1",
                        entry_offset(index), offset);
  }
  return {};
}

}  // namespace vhdxm::vhdx
