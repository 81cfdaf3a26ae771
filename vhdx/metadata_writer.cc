#include "vhdx/metadata_writer.h"

#include <algorithm>
#include <array>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "vhdx/metadata.h"
#include "vhdx/parent_locator.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::uint64_t kItemAlignment = 8;
constexpr std::array kReservedItems = {kFileParametersItem,     kVirtualDiskSizeItem,
                                       kVirtualDiskIdItem,      kLogicalSectorSizeItem,
                                       kPhysicalSectorSizeItem, kParentLocatorItem};
// The region's Length has 32 bits.
static_assert(kMetadataTableBytes + kOpaqueBytesMax + kMetadataEntryCountMax * kItemAlignment +
                  2 * kMetadataItemBytesMax <=
              0xffffffff);

struct Item {
  Guid item_id;
  std::uint32_t flags = 0;
  std::span<const std::byte> content;
};

template <class Raw>
std::vector<std::byte> bytes_of(const Raw& raw) {
  std::vector<std::byte> bytes(sizeof raw);
  store_raw(bytes.data(), raw);
  return bytes;
}

Error refused(const char* where) {
  return Error{.code = BaseErrc::kInvalidArgument, .where = where};
}

Result<void> validate_opaque(const std::vector<OpaqueItem>& items) {
  if (items.size() > kMetadataEntryCountMax - kReservedItems.size()) {
    return refused("metadata: more items than the table holds, [MS-VHDX] 2.6.1.1");
  }
  std::set<std::pair<Guid, bool>> seen;
  std::size_t user_items = 0;
  std::uint64_t bytes = 0;
  for (const OpaqueItem& item : items) {
    const bool is_user = (item.flags & kMetadataIsUser) != 0;
    if ((item.flags & ~(kMetadataIsUser | kMetadataIsVirtualDisk)) != 0) {
      return refused(
          "metadata: an item marked required or with reserved flags cannot be carried "
          "along, [MS-VHDX] 2.6.1.2");
    }
    if (item.content.size() > kMetadataItemBytesMax) {
      return refused("metadata: an item of more than 1 MiB, [MS-VHDX] 2.6.1.2");
    }
    if (!is_user && std::find(kReservedItems.begin(), kReservedItems.end(), item.item_id) !=
                        kReservedItems.end()) {
      return refused("metadata: a carried item has the ItemId of a known one, [MS-VHDX] 2.6.2");
    }
    if (!seen.emplace(item.item_id, is_user).second) {
      return refused("metadata: two items of one ItemId, [MS-VHDX] 2.6.1.2");
    }
    user_items += is_user ? 1 : 0;
    bytes += item.content.size();
  }
  if (bytes > kOpaqueBytesMax) {
    return refused("metadata: more foreign items than this program carries along, 16 MiB");
  }
  if (user_items > kMetadataUserEntryCountMax) {
    return refused("metadata: more than 1024 user items, [MS-VHDX] 2.6.1.2");
  }
  return {};
}

/// The content of the parent locator item; empty if there is none.
Result<std::vector<std::byte>> encode_locator(const Description& description) {
  const bool is_child = description.geometry.type == DiskType::kDifferencing;
  if (is_child != description.parent.has_value()) {
    return refused(is_child
                       ? "metadata: a differencing disk without parent locator, [MS-VHDX] 2.6.2.6"
                       : "metadata: a parent locator in a disk that is not differencing, "
                         "[MS-VHDX] 2.6.2.6");
  }
  if (!is_child) return std::vector<std::byte>{};
  return encode_parent_locator(*description.parent);
}

std::uint64_t aligned(std::uint64_t bytes) {
  return (bytes + kItemAlignment - 1) / kItemAlignment * kItemAlignment;
}

}  // namespace

Result<std::uint32_t> metadata_region_bytes(const Description& description) {
  VHDXM_TRY_VOID(validate_opaque(description.opaque_items));
  VHDXM_TRY(const std::vector<std::byte> locator, encode_locator(description));
  // File parameters, virtual size, disk ID, two sector sizes: 8 or 16 bytes each.
  std::uint64_t bytes = kMetadataTableBytes + 5 * 16 + aligned(locator.size());
  for (const OpaqueItem& item : description.opaque_items) bytes += aligned(item.content.size());
  return static_cast<std::uint32_t>((bytes + kMiB - 1) / kMiB * kMiB);
}

Result<void> write_metadata(File& file, std::uint64_t region_offset,
                            const Description& description) {
  const Geometry& geometry = description.geometry;
  const bool is_child = geometry.type == DiskType::kDifferencing;
  RawFileParameters parameters;
  parameters.block_size = geometry.block_bytes;
  parameters.flags =
      (geometry.type == DiskType::kFixed ? kLeaveBlockAllocated : 0) | (is_child ? kHasParent : 0);
  const auto file_parameters = bytes_of(parameters);
  const auto virtual_size = bytes_of(Le64(geometry.virtual_size_bytes));
  const auto disk_id = bytes_of(description.virtual_disk_id);
  const auto logical_sector = bytes_of(Le32(geometry.logical_sector_bytes));
  const auto physical_sector = bytes_of(Le32(geometry.physical_sector_bytes));
  VHDXM_TRY(const std::vector<std::byte> locator, encode_locator(description));

  constexpr std::uint32_t kOfDisk = kMetadataIsVirtualDisk | kMetadataIsRequired;
  std::vector<Item> items = {{kFileParametersItem, kMetadataIsRequired, file_parameters},
                             {kVirtualDiskSizeItem, kOfDisk, virtual_size},
                             {kVirtualDiskIdItem, kOfDisk, disk_id},
                             {kLogicalSectorSizeItem, kOfDisk, logical_sector},
                             {kPhysicalSectorSizeItem, kOfDisk, physical_sector}};
  if (is_child) items.push_back({kParentLocatorItem, kMetadataIsRequired, locator});
  for (const OpaqueItem& item : description.opaque_items) {
    items.push_back({item.item_id, item.flags, item.content});
  }

  std::vector<std::byte> table(kMetadataTableBytes);
  RawMetadataTableHeader header{};
  header.signature = kMetadataSignature;
  header.entry_count = static_cast<std::uint16_t>(items.size());
  store_raw(table.data(), header);
  std::uint64_t offset = kMetadataTableBytes;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Item& item = items[i];
    RawMetadataTableEntry entry{};
    entry.item_id = item.item_id;
    entry.flags = item.flags;
    // An empty item has no place: Length zero requires Offset zero (2.6.1.2).
    if (!item.content.empty()) {
      entry.offset = static_cast<std::uint32_t>(offset);
      entry.length = static_cast<std::uint32_t>(item.content.size());
      VHDXM_TRY_VOID(file.write_at(region_offset + offset, item.content));
      offset += aligned(item.content.size());
    }
    store_raw(table.data() + sizeof header + i * sizeof entry, entry);
  }
  return file.write_at(region_offset, table);
}

}  // namespace vhdxm::vhdx
