#include "vhdx/layer_digest.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"

namespace vhdxm::vhdx {
namespace {

enum class EntryKind : std::uint64_t { kData = 1, kMixed = 2, kZeroRun = 3, kDisk = 4 };

class DigestSum {
 public:
  explicit DigestSum(std::uint64_t seed) : seed_(seed) {}

  void data_cell(std::uint64_t offset, std::span<const std::byte> bytes) {
    add(EntryKind::kData, offset, bytes.size(), hash128(bytes, seed_), {});
  }

  void mixed_cell(std::uint64_t offset, std::span<const std::byte> bytes,
                  std::span<const std::byte> presence) {
    add(EntryKind::kMixed, offset, bytes.size(), hash128(bytes, seed_), hash128(presence, seed_));
  }

  void zero_cells(std::uint64_t offset, std::uint64_t length) {
    if (offset != zero_end_) end_zero_run();
    if (zero_begin_ == zero_end_) zero_begin_ = offset;
    zero_end_ = offset + length;
  }

  Hash128 finish(const Geometry& geometry) {
    end_zero_run();
    add(EntryKind::kDisk, geometry.logical_sector_bytes, geometry.virtual_size_bytes, {}, {});
    return sum_;
  }

 private:
  void end_zero_run() {
    if (zero_begin_ != zero_end_) {
      add(EntryKind::kZeroRun, zero_begin_, zero_end_ - zero_begin_, {}, {});
    }
    zero_begin_ = zero_end_ = 0;
  }

  void add(EntryKind kind, std::uint64_t offset, std::uint64_t length, const Hash128& data,
           const Hash128& presence) {
    const std::array<Le64, 8> entry = {static_cast<std::uint64_t>(kind),
                                       offset,
                                       length,
                                       data.low,
                                       data.high,
                                       presence.low,
                                       presence.high,
                                       std::uint64_t{0}};
    sum_ += hash128(std::as_bytes(std::span(entry)), seed_);
  }

  const std::uint64_t seed_;
  Hash128 sum_;
  // The run of zero cells that may go on; empty if the two are equal.
  std::uint64_t zero_begin_ = 0;
  std::uint64_t zero_end_ = 0;
};

/// Gathers extents into whole cells. Cells that hold data are read into the buffer, as many at once
/// as fit; runs of cells that hold none are settled without it.
class CellScan {
 public:
  CellScan(const Geometry& geometry, DigestSum& sum, std::span<std::byte> buffer)
      : size_bytes_(geometry.virtual_size_bytes),
        sector_bytes_(geometry.logical_sector_bytes),
        sum_(sum),
        buffer_(buffer),
        present_(buffer.size() / sector_bytes_) {}

  /// Requires: extents come in order, without gaps, from zero on.
  Result<void> take(Extent extent, const WorkWatch& watch) {
    while (extent.length != 0) {
      VHDXM_TRY_VOID(watch.at(window_begin_, size_bytes_));
      std::uint64_t done = settle_whole_cells(extent);
      if (done == 0) {
        VHDXM_TRY(done, gather(extent));
      }
      extent.virtual_offset += done;
      extent.file_offset += done;
      extent.length -= done;
    }
    return {};
  }

 private:
  std::uint64_t cell_end(std::uint64_t offset) const {
    return std::min((offset / kDigestCellBytes + 1) * kDigestCellBytes, size_bytes_);
  }

  /// How much of an extent without data is whole cells right here; they are settled.
  std::uint64_t settle_whole_cells(const Extent& extent) {
    if (extent.kind == ExtentKind::kData || extent.virtual_offset % kDigestCellBytes != 0) return 0;
    settle_window();
    std::uint64_t end = extent.virtual_offset + extent.length;
    if (end != size_bytes_) end = end / kDigestCellBytes * kDigestCellBytes;
    if (end <= window_begin_) return 0;
    const std::uint64_t length = end - window_begin_;
    if (extent.kind != ExtentKind::kParent) sum_.zero_cells(window_begin_, length);
    window_begin_ = window_end_ = end;
    return length;
  }

  /// Puts the beginning of the extent into the window. Returns how much.
  Result<std::uint64_t> gather(const Extent& extent) {
    const std::uint64_t at = extent.virtual_offset - window_begin_;
    std::uint64_t length = std::min<std::uint64_t>(extent.length, buffer_.size() - at);
    if (extent.kind != ExtentKind::kData) {
      // Up to the end of the cell only: whole cells behind it need no window.
      length = std::min(length, cell_end(extent.virtual_offset) - extent.virtual_offset);
    }
    const auto piece =
        buffer_.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(length));
    if (extent.kind == ExtentKind::kData) {
      VHDXM_TRY_VOID(read_exact_at(*extent.file, extent.file_offset, piece, "payload"));
    } else {
      std::fill(piece.begin(), piece.end(), std::byte{0});
    }
    std::fill_n(present_.begin() + static_cast<std::ptrdiff_t>(at / sector_bytes_),
                length / sector_bytes_, extent.kind != ExtentKind::kParent);
    window_end_ = extent.virtual_offset + length;
    if (window_end_ - window_begin_ == buffer_.size() || window_end_ == size_bytes_) {
      settle_window();
    }
    return length;
  }

  void settle_window() {
    while (window_begin_ < window_end_) {
      const std::uint64_t end = cell_end(window_begin_);
      settle_cell(end);
      window_begin_ = end;
    }
    first_cell_ = 0;
  }

  void settle_cell(std::uint64_t end) {
    const std::uint64_t length = end - window_begin_;
    const auto bytes = std::span<const std::byte>(buffer_).subspan(
        static_cast<std::size_t>(first_cell_), static_cast<std::size_t>(length));
    const auto first = present_.begin() + static_cast<std::ptrdiff_t>(first_cell_ / sector_bytes_);
    const auto last = first + static_cast<std::ptrdiff_t>(length / sector_bytes_);
    first_cell_ += length;
    const auto present = std::count(first, last, true);
    if (present == 0) return;
    if (present != last - first) {
      std::array<std::byte, kDigestCellBytes / 512 / 8> bits{};
      for (auto sector = first; sector != last; ++sector) {
        const auto index = static_cast<std::size_t>(sector - first);
        if (*sector) bits[index / 8] |= std::byte{1} << (index % 8);
      }
      const auto sectors = static_cast<std::size_t>(last - first);
      sum_.mixed_cell(window_begin_, bytes, std::span(bits).first((sectors + 7) / 8));
    } else if (all_zero(bytes)) {
      sum_.zero_cells(window_begin_, length);
    } else {
      sum_.data_cell(window_begin_, bytes);
    }
  }

  const std::uint64_t size_bytes_;
  const std::uint32_t sector_bytes_;
  DigestSum& sum_;
  const std::span<std::byte> buffer_;
  std::vector<bool> present_;       ///< Of the sectors of the window.
  std::uint64_t window_begin_ = 0;  ///< Bytes of the disk; the start of a cell.
  std::uint64_t window_end_ = 0;    ///< What the buffer holds so far.
  std::uint64_t first_cell_ = 0;    ///< Bytes of the buffer: where the cell at window_begin_ is.
};

}  // namespace

Result<Hash128> layer_digest(DiskView& disk, std::uint64_t seed, std::span<std::byte> buffer,
                             const WorkWatch& watch) {
  VHDXM_CHECK(!buffer.empty() && buffer.size() % kDigestCellBytes == 0);
  const Geometry& geometry = disk.geometry();
  const std::uint64_t size_bytes = geometry.virtual_size_bytes;
  DigestSum sum(seed);
  CellScan scan(geometry, sum, buffer);
  std::vector<Extent> extents;
  for (std::uint64_t offset = 0; offset < size_bytes;) {
    extents.clear();
    VHDXM_TRY(offset, disk.map(offset, size_bytes - offset, extents));
    for (const Extent& extent : extents) {
      VHDXM_TRY_VOID(scan.take(extent, watch));
    }
  }
  VHDXM_TRY_VOID(watch.at(size_bytes, size_bytes));
  return sum.finish(geometry);
}

}  // namespace vhdxm::vhdx
