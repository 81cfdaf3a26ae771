// What a disk in use holds: the map of DiskWriter.
#include <algorithm>
#include <utility>

#include "vhdx/disk_writer.h"
#include "vhdx/sector_bitmap.h"

namespace vhdxm::vhdx {
namespace {

/// Extents of the parents that are resolved at a time: little is mapped in vain when the list is
/// full.
constexpr std::size_t kParentExtentsAtOnce = 64;

}  // namespace

/// Appends runs to a caller's vector: joins neighbours, stops at a limit.
class DiskWriter::RunList {
 public:
  RunList(std::vector<Extent>& out, std::size_t extents_max)
      : out_(out), first_(out.size()), extents_max_(extents_max) {}

  /// Adds [begin, end), which goes on where the last run ended. False: there is no room.
  bool add(std::uint64_t begin, std::uint64_t end, ExtentKind kind) {
    if (out_.size() > first_ && out_.back().kind == kind) {
      out_.back().length += end - begin;
      return true;
    }
    if (out_.size() - first_ >= extents_max_) return false;
    out_.push_back({.virtual_offset = begin, .length = end - begin, .kind = kind});
    return true;
  }

 private:
  std::vector<Extent>& out_;
  const std::size_t first_;
  const std::size_t extents_max_;
};

Result<std::uint64_t> DiskWriter::map(std::uint64_t offset, std::uint64_t length,
                                      std::vector<Extent>& out, std::size_t extents_max) {
  VHDXM_TRY_VOID(check_range(offset, length, "a range to map"));
  const std::uint64_t block_bytes = geometry().block_bytes;
  const std::uint64_t end = offset + length;  // inside the disk: cannot wrap
  RunList runs(out, extents_max);
  for (std::uint64_t at = offset; at < end;) {
    Piece piece{.block = at / block_bytes, .in_block = at % block_bytes};
    piece.length = std::min(end - at, block_bytes - piece.in_block);
    VHDXM_TRY(const std::uint64_t mapped_to, map_piece(piece, runs));
    if (mapped_to < at + piece.length) return mapped_to;
    at = mapped_to;
  }
  return end;
}

Result<std::uint64_t> DiskWriter::map_piece(const Piece& piece, RunList& runs) {
  const std::uint64_t begin = piece.block * geometry().block_bytes + piece.in_block;
  const std::uint64_t end = begin + piece.length;
  const std::shared_lock lock(stripe_of(piece.block));
  VHDXM_TRY(const Entry entry, entry_of(piece.block));
  ExtentKind kind = ExtentKind::kUnmapped;
  switch (entry.state) {
    case PayloadState::kFullyPresent:
      kind = ExtentKind::kData;
      break;
    case PayloadState::kPartiallyPresent:
      return map_partial(piece, runs);
    case PayloadState::kNotPresent:
      if (has_parent()) return map_parent(begin, end, runs);
      break;
    case PayloadState::kZero:
      kind = ExtentKind::kZero;
      break;
    default:  // UNMAPPED and UNDEFINED hide the parent (2.5.1.1).
      break;
  }
  return runs.add(begin, end, kind) ? end : begin;
}

Result<std::uint64_t> DiskWriter::map_partial(const Piece& piece, RunList& runs) {
  VHDXM_TRY(const std::uint64_t bitmap, bitmap_block_of(piece.block));
  VHDXM_TRY(const SectorBits bits, SectorBits::read(journal_->pages(), bitmap,
                                                    first_sector_in_chunk(geometry(), piece.block) +
                                                        sectors(piece.in_block),
                                                    sectors(piece.length)));
  const std::uint64_t sector_bytes = geometry().logical_sector_bytes;
  const std::uint64_t first = piece.block * geometry().block_bytes + piece.in_block;
  for (std::size_t sector = 0; sector < bits.sector_count();) {
    const std::size_t run_end = bits.run_end(sector);
    const std::uint64_t begin = first + sector * sector_bytes;
    const std::uint64_t end = first + run_end * sector_bytes;
    if (bits.is_present(sector)) {
      if (!runs.add(begin, end, ExtentKind::kData)) return begin;
    } else {
      VHDXM_TRY(const std::uint64_t mapped_to, map_parent(begin, end, runs));
      if (mapped_to < end) return mapped_to;
    }
    sector = run_end;
  }
  return first + piece.length;
}

Result<std::uint64_t> DiskWriter::map_parent(std::uint64_t begin, std::uint64_t end,
                                             RunList& runs) {
  // A child may have been made larger than its parent: there is nothing behind it there.
  const std::uint64_t inside = std::min(end, parents_->virtual_size_bytes());
  std::vector<Extent> extents;
  for (std::uint64_t at = begin; at < inside;) {
    extents.clear();
    VHDXM_TRY_VOID(parents_->map(at, inside - at, extents, kParentExtentsAtOnce));
    for (const Extent& extent : extents) {
      if (!runs.add(at, at + extent.length, extent.kind)) return at;
      at += extent.length;
    }
  }
  const std::uint64_t past = std::max(begin, inside);
  if (past < end && !runs.add(past, end, ExtentKind::kUnmapped)) return past;
  return end;
}

Result<void> DiskWriter::validate_bats() {
  {
    const std::lock_guard lock(begin_mutex_);
    VHDXM_TRY_VOID(take_stock());
  }
  if (!parents_) return {};
  for (const auto& layer : parents_->layers()) VHDXM_TRY_VOID(layer->validate_bat());
  return {};
}

}  // namespace vhdxm::vhdx
