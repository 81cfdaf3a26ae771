#include "vhdx/flattened_disk.h"

#include <algorithm>

#include "base/check.h"
#include "base/hash128.h"
#include "vhdx/extent_list.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::size_t kExtentsAtOnce = 512;

Guid identity_of_chain(const Image& image) {
  std::vector<std::byte> guids;
  for (const auto& layer : image.layers()) {
    const auto bytes = std::as_bytes(std::span(layer->description().data_write_guid.bytes));
    guids.insert(guids.end(), bytes.begin(), bytes.end());
  }
  const Hash128 hash = hash128(guids, 0);
  Guid guid;
  store_raw(std::as_writable_bytes(std::span(guid.bytes)).data(),
            std::array<Le64, 2>{Le64(hash.low), Le64(hash.high)});
  // Version 8 of RFC 9562: "made in a way of one's own".
  guid.bytes[7] = static_cast<std::uint8_t>((guid.bytes[7] & 0x0f) | 0x80);
  guid.bytes[8] = static_cast<std::uint8_t>((guid.bytes[8] & 0x3f) | 0x80);
  return guid;
}

}  // namespace

FlattenedDisk::FlattenedDisk(Image& image)
    : image_(image), description_(image.layers().front()->description()) {
  description_.geometry.type = DiskType::kDynamic;
  description_.parent.reset();
  description_.data_write_guid = identity_of_chain(image);
}

Result<std::uint64_t> FlattenedDisk::map(std::uint64_t offset, std::uint64_t length,
                                         std::vector<Extent>& out, std::size_t extents_max) {
  const std::uint64_t end = offset + std::min(length, geometry().virtual_size_bytes - offset);
  ExtentList list(out, extents_max);
  std::vector<Extent> extents;
  for (std::uint64_t at = offset; at < end;) {
    extents.clear();
    VHDXM_TRY_VOID(image_.map(at, end - at, extents, kExtentsAtOnce));
    for (Extent& extent : extents) {
      const std::uint64_t stop = extent.virtual_offset + extent.length;
      // A block without data may have reached into this one.
      if (stop <= at) continue;
      VHDXM_CHECK(extent.kind != ExtentKind::kParent);
      if (extent.kind == ExtentKind::kData) {
        if (!list.add(extent)) return at;
        at = stop;
        continue;
      }
      extent.virtual_offset = at;
      extent.length = stop - at;
      VHDXM_TRY(at, map_without_data(extent, end, list));
      if (at < stop) return at;
    }
  }
  return end;
}

/// Adds `run`, and what follows it in its last block if that holds no data. Returns where that
/// ends; before the end of the run if the list is full.
Result<std::uint64_t> FlattenedDisk::map_without_data(Extent run, std::uint64_t end,
                                                      ExtentList& list) {
  const std::uint64_t block_bytes = geometry().block_bytes;
  const std::uint64_t stop = run.virtual_offset + run.length;
  for (std::uint64_t at = run.virtual_offset; at < stop;) {
    const std::uint64_t block = at / block_bytes;
    const std::uint64_t block_end =
        std::min((block + 1) * block_bytes, geometry().virtual_size_bytes);
    Extent piece{.virtual_offset = at, .length = 0, .kind = run.kind};
    if (at % block_bytes == 0 && stop >= block_end) {
      // Whole blocks; the last one may end where the disk does.
      const std::uint64_t whole =
          stop == geometry().virtual_size_bytes ? stop : stop / block_bytes * block_bytes;
      piece.length = whole - at;
    } else {
      VHDXM_TRY(const SharedBlock shared, look_into(block));
      piece.length = (shared.has_data ? std::min(stop, block_end) : std::min(end, block_end)) - at;
      if (!shared.has_data) piece.kind = shared.kind;
    }
    if (!list.add(piece)) return at;
    at += piece.length;
    if (at >= stop) return at;
  }
  return stop;
}

Result<FlattenedDisk::SharedBlock> FlattenedDisk::look_into(std::uint64_t block) {
  {
    const std::lock_guard lock(mutex_);
    if (last_ && last_->number == block) return *last_;
  }
  SharedBlock found{.number = block};
  const std::uint64_t begin = block * geometry().block_bytes;
  const std::uint64_t end = std::min(begin + geometry().block_bytes, geometry().virtual_size_bytes);
  std::vector<Extent> extents;
  for (std::uint64_t at = begin; at < end && !found.has_data;) {
    extents.clear();
    VHDXM_TRY(at, image_.map(at, end - at, extents, kExtentsAtOnce));
    for (const Extent& extent : extents) {
      found.has_data |= extent.kind == ExtentKind::kData;
      if (extent.kind == ExtentKind::kZero) found.kind = ExtentKind::kZero;
    }
  }
  const std::lock_guard lock(mutex_);
  last_ = found;
  return found;
}

Result<void> FlattenedDisk::payload_states(std::uint64_t first_block, std::span<PayloadState> out) {
  VHDXM_CHECK(first_block <= geometry().block_count() &&
              out.size() <= geometry().block_count() - first_block);
  std::fill(out.begin(), out.end(), PayloadState::kNotPresent);
  const std::uint64_t block_bytes = geometry().block_bytes;
  const std::uint64_t end =
      std::min((first_block + out.size()) * block_bytes, geometry().virtual_size_bytes);
  std::vector<Extent> extents;
  for (std::uint64_t at = first_block * block_bytes; at < end;) {
    extents.clear();
    VHDXM_TRY(at, image_.map(at, end - at, extents));
    for (const Extent& extent : extents) {
      if (extent.kind != ExtentKind::kData) continue;
      const std::uint64_t last = (extent.virtual_offset + extent.length - 1) / block_bytes;
      for (std::uint64_t block = extent.virtual_offset / block_bytes; block <= last; ++block) {
        out[static_cast<std::size_t>(block - first_block)] = PayloadState::kFullyPresent;
      }
    }
  }
  return {};
}

}  // namespace vhdxm::vhdx
