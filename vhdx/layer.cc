#include "vhdx/layer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "vhdx/bat.h"
#include "vhdx/errc.h"
#include "vhdx/extent_list.h"
#include "vhdx/log_replay.h"
#include "vhdx/metadata.h"
#include "vhdx/sector_bitmap.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::size_t kBlocksAtOnce = 256;

/// Names the file, in front of what the error names already.
Error in_file(Error error, const std::string& file) {
  if (error.subject.empty() || error.subject == file) {
    error.subject = file;
  } else {
    error.subject = file + ", " + error.subject;
  }
  return error;
}

Result<void> require_file_identifier(File& file) {
  std::array<std::byte, sizeof(Le64)> bytes{};
  VHDXM_TRY(const std::size_t got, file.read_some_at(kFileIdentifierOffset, bytes));
  const std::uint64_t signature = load_raw<Le64>(bytes.data());
  if (got < bytes.size() || signature != kFileSignature) {
    return format_error(Errc::kNotVhdx, "file identifier Signature, [MS-VHDX] 2.2.1",
                        kFileIdentifierOffset, signature, kFileSignature);
  }
  return {};
}

ExtentKind absent_kind(PayloadState state, DiskType type) {
  // Only NOT_PRESENT shows the parent; zeroed, trimmed and undefined blocks hide it (2.5.1.1).
  if (state == PayloadState::kZero) return ExtentKind::kZero;
  if (state == PayloadState::kNotPresent && type == DiskType::kDifferencing) {
    return ExtentKind::kParent;
  }
  return ExtentKind::kUnmapped;
}

/// The MiBs of a file that are taken.
class TakenSpace {
 public:
  explicit TakenSpace(std::uint64_t file_bytes)
      : taken_(static_cast<std::size_t>((file_bytes + kMiB - 1) / kMiB)) {}

  /// Takes what of [offset, offset + length) lies inside the file. False: some of it was taken.
  bool take(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t end = std::min<std::uint64_t>((offset + length) / kMiB, taken_.size());
    for (std::uint64_t at = offset / kMiB; at < end; ++at) {
      if (taken_[static_cast<std::size_t>(at)]) return false;
      taken_[static_cast<std::size_t>(at)] = true;
    }
    return true;
  }

 private:
  std::vector<bool> taken_;
};

}  // namespace

Layer::~Layer() = default;

Result<std::unique_ptr<Layer>> Layer::open(std::shared_ptr<File> file, Replay replay) {
  const std::string name = file->name();
  auto layer = std::unique_ptr<Layer>(new Layer);
  auto loaded = layer->load(std::move(file), replay);
  if (loaded.has_error()) return in_file(std::move(loaded).error(), name);
  return layer;
}

Result<void> Layer::load(std::shared_ptr<File> file, Replay replay) {
  VHDXM_TRY_VOID(require_file_identifier(*file));
  VHDXM_TRY(const Header header, select_header(*file));
  VHDXM_TRY(ReplayedFile replayed, replay == Replay::kOnFile
                                       ? replay_on_file(std::move(file), header)
                                       : replay_in_memory(std::move(file), header));
  view_ = std::move(replayed.file);
  header_ = replayed.header;
  replayed_entries_ = replayed.entry_count;
  VHDXM_TRY(regions_, read_region_table(*view_, header_));
  VHDXM_TRY(description_, read_description(*view_, regions_.metadata()));
  description_.data_write_guid = header_.data_write_guid;
  VHDXM_TRY(bat_, Bat::open(*view_, header_, regions_, description_.geometry));
  return {};
}

Result<std::uint64_t> Layer::map(std::uint64_t offset, std::uint64_t length,
                                 std::vector<Extent>& out, std::size_t extents_max) {
  const std::uint64_t size = geometry().virtual_size_bytes;
  const std::uint64_t sector = geometry().logical_sector_bytes;
  VHDXM_CHECK(offset < size && offset % sector == 0 && length % sector == 0);
  ExtentList list(out, extents_max);
  auto mapped = map_blocks(offset, offset + std::min(length, size - offset), list);
  if (mapped.has_error()) return in_file(std::move(mapped).error(), name());
  return mapped;
}

Result<std::uint64_t> Layer::map_blocks(std::uint64_t offset, std::uint64_t end, ExtentList& list) {
  const std::uint64_t block_bytes = geometry().block_bytes;
  std::array<PayloadEntry, kBlocksAtOnce> entries;
  std::uint64_t at = offset;
  while (at < end) {
    const std::uint64_t first_block = at / block_bytes;
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>(entries.size(), (end - 1) / block_bytes + 1 - first_block));
    VHDXM_TRY_VOID(bat_->payload(first_block, std::span(entries).first(count)));
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t block = first_block + i;
      const PayloadEntry& entry = entries[i];
      const std::uint64_t stop = std::min(end, (block + 1) * block_bytes);
      if (entry.state == PayloadState::kPartiallyPresent) {
        VHDXM_TRY(at, map_partial(block, entry.file_offset, at, stop, list));
        if (at < stop) return at;
        continue;
      }
      Extent extent{.virtual_offset = at, .length = stop - at};
      if (entry.state == PayloadState::kFullyPresent) {
        extent.kind = ExtentKind::kData;
        extent.file = view_.get();
        extent.file_offset = entry.file_offset + at % block_bytes;
      } else {
        extent.kind = absent_kind(entry.state, geometry().type);
      }
      if (!list.add(extent)) return at;
      at = stop;
    }
  }
  return at;
}

Result<std::uint64_t> Layer::map_partial(std::uint64_t block, std::uint64_t payload_offset,
                                         std::uint64_t begin, std::uint64_t end, ExtentList& list) {
  const std::uint64_t chunk = block / geometry().chunk_ratio();
  VHDXM_TRY(const std::optional<std::uint64_t> bitmap, bat_->sector_bitmap(chunk));
  if (!bitmap) {
    return format_error(Errc::kMissingSectorBitmap,
                        "PARTIALLY_PRESENT needs the chunk's sector bitmap, [MS-VHDX] 2.5.1.1",
                        bat_->entry_offset(geometry().payload_bat_index(block)));
  }
  const std::uint64_t sector_bytes = geometry().logical_sector_bytes;
  const std::uint64_t in_block = begin % geometry().block_bytes;
  VHDXM_TRY(const SectorBits bits,
            SectorBits::read(*view_, *bitmap,
                             first_sector_in_chunk(geometry(), block) + in_block / sector_bytes,
                             (end - begin) / sector_bytes));
  for (std::size_t sector = 0; sector < bits.sector_count();) {
    const std::size_t run_end = bits.run_end(sector);
    Extent extent{.virtual_offset = begin + sector * sector_bytes,
                  .length = (run_end - sector) * sector_bytes,
                  .kind = ExtentKind::kParent};
    if (bits.is_present(sector)) {
      extent.kind = ExtentKind::kData;
      extent.file = view_.get();
      extent.file_offset = payload_offset + in_block + sector * sector_bytes;
    }
    if (!list.add(extent)) return extent.virtual_offset;
    sector = run_end;
  }
  return end;
}

Result<void> Layer::payload_states(std::uint64_t first_block, std::span<PayloadState> out) {
  std::array<PayloadEntry, kBlocksAtOnce> entries;
  for (std::size_t done = 0; done < out.size();) {
    const std::size_t count = std::min(entries.size(), out.size() - done);
    auto read = bat_->payload(first_block + done, std::span(entries).first(count));
    if (read.has_error()) return in_file(std::move(read).error(), name());
    for (std::size_t i = 0; i < count; ++i) out[done + i] = entries[i].state;
    done += count;
  }
  return {};
}

Result<void> Layer::validate_bat() {
  auto proved = prove_blocks_apart();
  if (proved.has_error()) return in_file(std::move(proved).error(), name());
  return proved;
}

Result<void> Layer::prove_blocks_apart() {
  // Every entry is proved free of header, log and regions as it is decoded; left is each other.
  VHDXM_TRY(const std::uint64_t file_bytes, view_->size());
  TakenSpace taken(std::min(file_bytes, kFileBytesMax));
  const auto overlap = [this](std::uint64_t index, std::uint64_t offset) {
    return format_error(Errc::kOverlap, "another block stands there already, [MS-VHDX] 2.5.1",
                        bat_->entry_offset(index), offset);
  };
  const bool differencing = geometry().type == DiskType::kDifferencing;
  const std::uint64_t ratio = geometry().chunk_ratio();
  std::array<PayloadEntry, kBlocksAtOnce> entries;
  std::optional<std::uint64_t> bitmap;
  for (std::uint64_t block = 0; block < geometry().block_count();) {
    if (differencing && block % ratio == 0) {
      const std::uint64_t chunk = block / ratio;
      VHDXM_TRY(bitmap, bat_->sector_bitmap(chunk));
      if (bitmap && !taken.take(*bitmap, kSectorBitmapBlockBytes)) {
        return overlap(geometry().bitmap_bat_index(chunk), *bitmap);
      }
    }
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(
        {entries.size(), ratio - block % ratio, geometry().block_count() - block}));
    VHDXM_TRY_VOID(bat_->payload(block, std::span(entries).first(count)));
    for (std::size_t i = 0; i < count; ++i) {
      const PayloadEntry& entry = entries[i];
      const std::uint64_t index = geometry().payload_bat_index(block + i);
      if (entry.state == PayloadState::kPartiallyPresent && !bitmap) {
        return format_error(Errc::kMissingSectorBitmap,
                            "PARTIALLY_PRESENT needs the chunk's sector bitmap, [MS-VHDX] 2.5.1.1",
                            bat_->entry_offset(index));
      }
      if (entry.file_offset != 0 && !taken.take(entry.file_offset, geometry().block_bytes)) {
        return overlap(index, entry.file_offset);
      }
    }
    block += count;
  }
  return {};
}

}  // namespace vhdxm::vhdx
