#include "transfer/seed_disk.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "transfer/errc.h"
#include "vhdx/planned_file.h"

namespace vhdxm::transfer {
namespace {

Error unfit(const char* where, const std::string& subject) {
  return Error{.code = Errc::kIncompatible, .where = where, .subject = subject};
}

// A peer names a seed; what its locator names must not lead out of the folder either.
Result<void> check_inside(const Directory& folder, const std::string& path) {
  std::error_code ec;
  const auto file = std::filesystem::canonical(path, ec);
  const auto home = ec ? std::filesystem::path() : std::filesystem::canonical(folder.path(), ec);
  if (!ec && file.parent_path() == home) return {};
  return unfit("the seed, or a parent of it, lies outside the folder", path);
}

void add_cells(std::vector<HeldRange>& ranges, std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) return;
  if (!ranges.empty() && ranges.back().end() >= begin) {
    ranges.back().length = std::max(end, ranges.back().end()) - ranges.back().offset;
  } else {
    ranges.push_back({.offset = begin, .length = end - begin});
  }
}

}  // namespace

SeedDisk::SeedDisk(Map map, std::string name, std::uint64_t size_bytes, const vhdx::Geometry& disk)
    : map_(std::move(map)), name_(std::move(name)), size_bytes_(size_bytes), disk_(disk) {}

Result<std::unique_ptr<SeedDisk>> SeedDisk::open(const Directory& folder, const std::string& name,
                                                 const vhdx::Geometry& disk) {
  // Through the folder first: a plain name of a regular file, not of a link.
  VHDXM_TRY(const auto file, folder.open_file(name, {}));
  VHDXM_TRY(const bool in_use, file->is_written_by_qemu());
  if (in_use) {
    return Error{.code = Errc::kSourceInUse,
                 .where = "QEMU or vhdx-migrate serve has the seed open for writing",
                 .subject = file->name()};
  }
  VHDXM_TRY(auto image,
            vhdx::Image::open(folder.path_of(name), {.direct = true, .prefer_cached = true}));
  for (const auto& layer : image->layers()) {
    VHDXM_TRY_VOID(check_inside(folder, layer->name()));
    VHDXM_TRY_VOID(layer->validate_bat());
  }
  if (image->geometry().logical_sector_bytes != disk.logical_sector_bytes) {
    Error error = unfit("logical sector size of the seed", file->name());
    error.found = image->geometry().logical_sector_bytes;
    error.expected = disk.logical_sector_bytes;
    return error;
  }
  const std::uint64_t size = image->virtual_size_bytes();
  const bool by_layer = disk.type == vhdx::DiskType::kDifferencing &&
                        image->geometry().type == vhdx::DiskType::kDifferencing;
  const std::shared_ptr<vhdx::Image> shared = std::move(image);
  Map map = [shared, by_layer](std::uint64_t offset, std::uint64_t length,
                               std::vector<vhdx::Extent>& out) {
    if (by_layer) return shared->layers().front()->map(offset, length, out);
    return shared->map(offset, length, out);
  };
  const std::string path = shared->layers().front()->name();
  return std::unique_ptr<SeedDisk>(new SeedDisk(std::move(map), path, size, disk));
}

Result<std::unique_ptr<SeedDisk>> SeedDisk::open_begun(std::shared_ptr<PosixFile> file,
                                                       const BegunFile& begun,
                                                       const vhdx::Geometry& disk) {
  vhdx::BlockPlan plan(begun.offer.description.geometry);
  VHDXM_TRY_VOID(plan.decode(0, begun.plan));
  VHDXM_TRY(auto planned,
            vhdx::PlannedFile::open(std::move(file), begun.offer.description, std::move(plan)));
  const std::shared_ptr<vhdx::PlannedFile> shared = std::move(planned);
  Map map = [shared](std::uint64_t offset, std::uint64_t length, std::vector<vhdx::Extent>& out) {
    return shared->map(offset, length, out);
  };
  return std::unique_ptr<SeedDisk>(
      new SeedDisk(std::move(map), shared->name(), shared->geometry().virtual_size_bytes, disk));
}

Result<std::vector<HeldRange>> SeedDisk::held_ranges(const vhdx::BlockPlan& plan,
                                                     std::size_t ranges_max) const {
  // The last cell of the seed counts only if it is one of the disk's too.
  std::uint64_t size = std::min(disk_.virtual_size_bytes, size_bytes_);
  if (size != disk_.virtual_size_bytes) size -= size % kCellBytes;
  const std::uint64_t block_bytes = disk_.block_bytes;
  std::vector<HeldRange> ranges;
  std::vector<vhdx::Extent> extents;
  for (std::uint64_t at = 0; at < size && ranges.size() < ranges_max;) {
    extents.clear();
    VHDXM_TRY(at, map_(at, size - at, extents));
    for (const vhdx::Extent& extent : extents) {
      if (extent.kind != vhdx::ExtentKind::kData) continue;
      const std::uint64_t begin = extent.virtual_offset / kCellBytes * kCellBytes;
      const std::uint64_t end = extent.virtual_offset + extent.length;
      const std::uint64_t cells_end =
          std::min((end + kCellBytes - 1) / kCellBytes * kCellBytes, size);
      const std::uint64_t end_block = (cells_end + block_bytes - 1) / block_bytes;
      for (std::uint64_t block = plan.next_present(begin / block_bytes, end_block);
           block < end_block; block = plan.next_present(block + 1, end_block)) {
        add_cells(ranges, std::max(begin, block * block_bytes),
                  std::min(cells_end, (block + 1) * block_bytes));
      }
    }
  }
  return ranges;
}

Result<bool> SeedDisk::holds(std::uint64_t offset, std::uint64_t length) const {
  if (offset > size_bytes_ || length > size_bytes_ - offset) return false;
  std::vector<vhdx::Extent> extents;
  for (std::uint64_t at = offset; at < offset + length;) {
    VHDXM_TRY(at, map_(at, offset + length - at, extents));
  }
  return std::any_of(extents.begin(), extents.end(), [](const vhdx::Extent& extent) {
    return extent.kind == vhdx::ExtentKind::kData;
  });
}

Result<SeedDisk::Cell> SeedDisk::read_cell(std::uint64_t offset, std::span<std::byte> bytes,
                                           std::uint64_t hash_seed) const {
  Cell cell{.extents = {},
            .presence = SectorPresence(bytes.size(), disk_.logical_sector_bytes),
            .hash = {}};
  for (std::uint64_t at = offset; at < offset + bytes.size();) {
    VHDXM_TRY(at, map_(at, offset + bytes.size() - at, cell.extents));
  }
  for (const vhdx::Extent& extent : cell.extents) {
    const std::uint64_t begin = extent.virtual_offset - offset;
    const auto piece = bytes.subspan(begin, extent.length);
    if (extent.kind == vhdx::ExtentKind::kData) {
      VHDXM_TRY_VOID(read_exact_at(*extent.file, extent.file_offset, piece, "payload of the seed"));
    } else {
      std::fill(piece.begin(), piece.end(), std::byte{0});
    }
    if (extent.kind != vhdx::ExtentKind::kParent) cell.presence.set(begin, extent.length);
  }
  cell.hash = cell_hash(bytes, cell.presence, hash_seed);
  return cell;
}

Result<Hash128> SeedDisk::hash_cell(std::uint64_t offset, std::uint64_t length,
                                    std::uint64_t hash_seed, std::span<std::byte> buffer) const {
  VHDXM_TRY(const Cell cell, read_cell(offset, buffer.first(length), hash_seed));
  return cell.hash;
}

Error SeedDisk::changed(std::uint64_t offset) const {
  return Error{.code = Errc::kChecksum,
               .where = "the seed changed while cells were taken from it, at this byte",
               .offset = offset,
               .subject = name_};
}

// False if the cell has to be read and written. copy_file_range() in between would be no gain: what
// stands in the disk has to be read once more, so its bytes would pass three times and not twice.
Result<bool> SeedDisk::share_cell(std::uint64_t offset, std::span<std::byte> bytes,
                                  const Hash128& hash, std::uint64_t hash_seed,
                                  vhdx::BulkWriter& writer) const {
  std::vector<vhdx::Extent> extents;
  VHDXM_TRY_VOID(map_(offset, bytes.size(), extents));
  const vhdx::Extent& extent = extents.front();
  if (extent.kind != vhdx::ExtentKind::kData || extent.length != bytes.size()) return false;
  VHDXM_TRY(const bool shared,
            writer.share(offset, bytes.size(), *extent.file, extent.file_offset));
  if (!shared) return false;
  VHDXM_TRY_VOID(writer.read_back(offset, bytes));
  SectorPresence presence(bytes.size(), disk_.logical_sector_bytes);
  presence.set(0, bytes.size());
  if (cell_hash(bytes, presence, hash_seed) != hash) return changed(offset);
  return true;
}

Result<void> SeedDisk::copy_cell(std::uint64_t offset, std::uint64_t length, const Hash128& hash,
                                 std::uint64_t hash_seed, std::span<std::byte> buffer,
                                 vhdx::BulkWriter& writer) const {
  const auto bytes = buffer.first(length);
  VHDXM_TRY(const bool shared, share_cell(offset, bytes, hash, hash_seed, writer));
  if (shared) return {};
  VHDXM_TRY(const Cell cell, read_cell(offset, bytes, hash_seed));
  if (cell.hash != hash) return changed(offset);
  if (cell.presence.all()) return writer.write(offset, bytes);
  for (const vhdx::Extent& extent : cell.extents) {
    if (extent.kind == vhdx::ExtentKind::kParent) {
      VHDXM_TRY_VOID(writer.mark(extent.kind, extent.virtual_offset, extent.length));
    } else {
      VHDXM_TRY_VOID(writer.write(extent.virtual_offset,
                                  bytes.subspan(extent.virtual_offset - offset, extent.length)));
    }
  }
  return {};
}

}  // namespace vhdxm::transfer
