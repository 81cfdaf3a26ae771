#include "vhdx/description.h"

#include <bit>

#include "vhdx/errc.h"

namespace vhdxm::vhdx {

std::string_view to_string(DiskType type) {
  switch (type) {
    case DiskType::kFixed:
      return "fixed";
    case DiskType::kDynamic:
      return "dynamic";
    case DiskType::kDifferencing:
      return "differencing";
  }
  return "unknown";
}

Result<void> Geometry::validate() const {
  const auto bad = [](const char* where, std::uint64_t found) {
    return format_error(Errc::kBadGeometry, where, Error::kNoOffset, found);
  };
  if (logical_sector_bytes != 512 && logical_sector_bytes != 4096) {
    return bad("LogicalSectorSize must be 512 or 4096, [MS-VHDX] 2.6.2.4", logical_sector_bytes);
  }
  if (physical_sector_bytes != 512 && physical_sector_bytes != 4096) {
    return bad("PhysicalSectorSize must be 512 or 4096, [MS-VHDX] 2.6.2.5", physical_sector_bytes);
  }
  if (!std::has_single_bit(block_bytes) || block_bytes < kBlockBytesMin ||
      block_bytes > kBlockBytesMax) {
    return bad("BlockSize must be a power of two from 1 MiB to 256 MiB, [MS-VHDX] 2.6.2.1",
               block_bytes);
  }
  if (virtual_size_bytes > kVirtualSizeMax) {
    return bad("VirtualDiskSize must be at most 64 TiB, [MS-VHDX] 2.6.2.2", virtual_size_bytes);
  }
  if (virtual_size_bytes % logical_sector_bytes != 0) {
    return bad("VirtualDiskSize must be a multiple of the logical sector size, [MS-VHDX] 2.6.2.2",
               virtual_size_bytes);
  }
  if (type != DiskType::kFixed && type != DiskType::kDynamic && type != DiskType::kDifferencing) {
    return bad("disk type", static_cast<std::uint64_t>(type));
  }
  return {};
}

// After validate(): size <= 2^46 and blocks of 2^20 bytes or more, so at most 2^26 blocks; the
// chunk ratio is at least 16, so the bitmap entries add less than a sixteenth. Nothing below can
// wrap.

std::uint64_t Geometry::block_count() const {
  return virtual_size_bytes / block_bytes + (virtual_size_bytes % block_bytes != 0 ? 1 : 0);
}

std::uint64_t Geometry::chunk_ratio() const {
  return kSectorsPerBitmapBlock * logical_sector_bytes / block_bytes;
}

std::uint64_t Geometry::chunk_count() const {
  return (block_count() + chunk_ratio() - 1) / chunk_ratio();
}

std::uint64_t Geometry::bat_entry_count() const {
  const std::uint64_t blocks = block_count();
  if (blocks == 0) return 0;
  if (type == DiskType::kDifferencing) return chunk_count() * (chunk_ratio() + 1);
  return blocks + (blocks - 1) / chunk_ratio();
}

std::uint64_t Geometry::payload_bat_index(std::uint64_t block) const {
  return block + block / chunk_ratio();
}

std::uint64_t Geometry::bitmap_bat_index(std::uint64_t chunk) const {
  return (chunk + 1) * chunk_ratio() + chunk;
}

const std::string* ParentLocator::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::optional<Guid> ParentLocator::linkage() const {
  const std::string* text = find("parent_linkage");
  return text == nullptr ? std::nullopt : Guid::parse(*text);
}

std::optional<Guid> ParentLocator::linkage2() const {
  const std::string* text = find("parent_linkage2");
  const std::optional<Guid> guid = text == nullptr ? std::nullopt : Guid::parse(*text);
  return guid && !guid->is_zero() ? guid : std::nullopt;
}

}  // namespace vhdxm::vhdx
