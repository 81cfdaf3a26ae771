#include "vhdx/metadata.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "vhdx/errc.h"
#include "vhdx/parent_locator.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::uint32_t kKnownFlags =
    kMetadataIsUser | kMetadataIsVirtualDisk | kMetadataIsRequired;

Error bad_table(const char* where, std::uint64_t offset, std::uint64_t found) {
  return format_error(Errc::kBadMetadataTable, where, offset, found);
}

Result<void> validate_place(const MetadataEntry& entry, std::uint64_t at, const Region& region) {
  const std::uint64_t offset_at = at + offsetof(RawMetadataTableEntry, offset);
  if (entry.length == 0) {
    if (entry.offset == 0) return {};
    return bad_table("Offset of an empty item must be zero, [MS-VHDX] 2.6.1.2", offset_at,
                     entry.offset);
  }
  if (entry.length > kMetadataItemBytesMax) {
    return bad_table("Length of an item must be at most 1 MiB, [MS-VHDX] 2.6.1.2",
                     at + offsetof(RawMetadataTableEntry, length), entry.length);
  }
  if (entry.offset < kMetadataTableBytes) {
    return bad_table("Offset of an item must be at least 64 KiB, [MS-VHDX] 2.6.1.2", offset_at,
                     entry.offset);
  }
  if (std::uint64_t{entry.offset} + entry.length > region.length) {
    return bad_table("an item must lie inside the metadata region, [MS-VHDX] 2.6.1.2", offset_at,
                     entry.offset);
  }
  return {};
}

std::uint64_t table_entry_offset(const Region& region, std::size_t index) {
  return region.file_offset + sizeof(RawMetadataTableHeader) +
         index * sizeof(RawMetadataTableEntry);
}

Result<void> validate_together(const std::vector<MetadataEntry>& entries, const Region& region) {
  std::vector<std::size_t> order(entries.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto identity = [&](std::size_t i) {
    return std::pair(entries[i].item_id, entries[i].is_user());
  };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(identity(a), a) < std::pair(identity(b), b);
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (identity(order[i - 1]) == identity(order[i])) {
      return format_error(Errc::kBadMetadataTable,
                          "ItemId and IsUser stand in the table twice, [MS-VHDX] 2.6.1.2",
                          table_entry_offset(region, order[i]))
          .about("item " + to_string(entries[order[i]].item_id));
    }
  }
  std::erase_if(order, [&](std::size_t i) { return entries[i].length == 0; });
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(entries[a].offset, a) < std::pair(entries[b].offset, b);
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const MetadataEntry& before = entries[order[i - 1]];
    const MetadataEntry& entry = entries[order[i]];
    // Both lie inside the region, whose length fits into 32 bits: no sum wraps.
    if (entry.offset < before.offset + before.length) {
      return bad_table(
          "an item overlaps another, [MS-VHDX] 2.6.1.2",
          table_entry_offset(region, order[i]) + offsetof(RawMetadataTableEntry, offset),
          entry.offset);
    }
  }
  return {};
}

/// Takes the items of a table one by one and makes a Description of them.
class ItemReader {
 public:
  ItemReader(File& file, const Region& region, const std::vector<MetadataEntry>& entries)
      : file_(file), region_(region), entries_(entries) {}

  Result<Description> read() {
    VHDXM_TRY_VOID(read_geometry());
    VHDXM_TRY(const auto id, required(kVirtualDiskIdItem, "Virtual Disk ID, [MS-VHDX] 2.6.2.3",
                                      sizeof(Guid), sizeof(Guid)));
    description_.virtual_disk_id = load_raw<Guid>(id.data());
    if (description_.geometry.type == DiskType::kDifferencing) VHDXM_TRY_VOID(read_locator());
    VHDXM_TRY_VOID(read_foreign());
    return std::move(description_);
  }

 private:
  using Bytes = std::vector<std::byte>;

  const MetadataEntry* find(const Guid& id) const {
    for (const MetadataEntry& entry : entries_) {
      if (!entry.is_user() && entry.item_id == id) return &entry;
    }
    return nullptr;
  }

  std::uint64_t place(const MetadataEntry& entry) const {
    return region_.file_offset + entry.offset;
  }

  Result<Bytes> content(const MetadataEntry& entry, const char* where) {
    Bytes bytes(entry.length);  // at most 1 MiB, as the table was validated
    if (!bytes.empty()) VHDXM_TRY_VOID(read_exact_at(file_, place(entry), bytes, where));
    return bytes;
  }

  Result<Bytes> required(const Guid& id, const char* where, std::uint32_t length,
                         std::uint32_t length_max) {
    const MetadataEntry* entry = find(id);
    if (entry == nullptr) return format_error(Errc::kMissingItem, where, region_.file_offset);
    if (entry->length < length || entry->length > length_max) {
      return format_error(Errc::kBadItem, where, place(*entry), entry->length, length);
    }
    return content(*entry, where);
  }

  Result<void> read_geometry() {
    Geometry& geometry = description_.geometry;
    VHDXM_TRY(const auto parameters,
              required(kFileParametersItem, "File Parameters, [MS-VHDX] 2.6.2.1",
                       sizeof(RawFileParameters), sizeof(RawFileParameters)));
    const auto raw = load_raw<RawFileParameters>(parameters.data());
    geometry.block_bytes = raw.block_size;
    // LeaveBlockAllocated means nothing where there is a parent (revision 8 says so).
    geometry.type = (raw.flags & kHasParent) != 0             ? DiskType::kDifferencing
                    : (raw.flags & kLeaveBlockAllocated) != 0 ? DiskType::kFixed
                                                              : DiskType::kDynamic;
    VHDXM_TRY(const auto size,
              required(kVirtualDiskSizeItem, "Virtual Disk Size, [MS-VHDX] 2.6.2.2", 8, 8));
    geometry.virtual_size_bytes = load_raw<Le64>(size.data());
    VHDXM_TRY(const auto logical,
              required(kLogicalSectorSizeItem, "Logical Sector Size, [MS-VHDX] 2.6.2.4", 4, 4));
    geometry.logical_sector_bytes = load_raw<Le32>(logical.data());
    // 8 bytes have been seen; the value is in the first 4.
    VHDXM_TRY(const auto physical,
              required(kPhysicalSectorSizeItem, "Physical Sector Size, [MS-VHDX] 2.6.2.5", 4, 8));
    geometry.physical_sector_bytes = load_raw<Le32>(physical.data());
    auto valid = geometry.validate();
    if (valid.has_error()) return at_its_item(std::move(valid).error());
    return {};
  }

  /// Says where in the file the field is that Geometry::validate() names.
  Error at_its_item(Error error) const {
    constexpr std::pair<std::string_view, Guid> kFields[] = {
        {"BlockSize", kFileParametersItem},
        {"VirtualDiskSize", kVirtualDiskSizeItem},
        {"LogicalSectorSize", kLogicalSectorSizeItem},
        {"PhysicalSectorSize", kPhysicalSectorSizeItem}};
    for (const auto& [name, item] : kFields) {
      if (std::string_view(error.where).starts_with(name)) error.offset = place(*find(item));
    }
    return error;
  }

  Result<void> read_locator() {
    const MetadataEntry* entry = find(kParentLocatorItem);
    constexpr const char* kWhere = "Parent Locator, [MS-VHDX] 2.6.2.6";
    if (entry == nullptr) return format_error(Errc::kMissingItem, kWhere, region_.file_offset);
    VHDXM_TRY(const auto bytes, content(*entry, kWhere));
    VHDXM_TRY(description_.parent, parse_parent_locator(bytes, place(*entry)));
    return {};
  }

  static bool is_known(const MetadataEntry& entry) {
    constexpr Guid kKnown[] = {kFileParametersItem,    kVirtualDiskSizeItem,    kVirtualDiskIdItem,
                               kLogicalSectorSizeItem, kPhysicalSectorSizeItem, kParentLocatorItem};
    return !entry.is_user() &&
           std::find(std::begin(kKnown), std::end(kKnown), entry.item_id) != std::end(kKnown);
  }

  Result<void> read_foreign() {
    std::uint64_t bytes_left = kOpaqueBytesMax;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const MetadataEntry& entry = entries_[i];
      if (is_known(entry)) continue;
      const std::uint64_t at = table_entry_offset(region_, i);
      if (entry.item_id == kIncompleteFileItem && !entry.is_user()) {
        return format_error(Errc::kIncompleteFile, "metadata item IncompleteFile", at);
      }
      if ((entry.flags & kMetadataIsRequired) != 0) {
        return format_error(Errc::kUnknownRequiredItem, "metadata item, [MS-VHDX] 2.6.1.2", at)
            .about("item " + to_string(entry.item_id));
      }
      if (entry.length > bytes_left) {
        return format_error(Errc::kMetadataTooLarge, "metadata items, [MS-VHDX] 2.6.1", at,
                            kOpaqueBytesMax - bytes_left + entry.length, kOpaqueBytesMax);
      }
      bytes_left -= entry.length;
      VHDXM_TRY(auto bytes, content(entry, "metadata item, [MS-VHDX] 2.6.1.2"));
      description_.opaque_items.push_back(
          {.item_id = entry.item_id, .flags = entry.flags, .content = std::move(bytes)});
    }
    return {};
  }

  File& file_;
  const Region& region_;
  const std::vector<MetadataEntry>& entries_;
  Description description_;
};

}  // namespace

Result<std::vector<MetadataEntry>> parse_metadata_table(
    std::span<const std::byte, kMetadataTableBytes> bytes, const Region& region) {
  const auto header = load_raw<RawMetadataTableHeader>(bytes.data());
  if (header.signature != kMetadataSignature) {
    return format_error(Errc::kBadMetadataTable, "metadata table Signature, [MS-VHDX] 2.6.1.1",
                        region.file_offset, header.signature, kMetadataSignature);
  }
  const std::uint16_t count = header.entry_count;
  if (count > kMetadataEntryCountMax) {
    return bad_table("metadata table EntryCount must be at most 2047, [MS-VHDX] 2.6.1.1",
                     region.file_offset + offsetof(RawMetadataTableHeader, entry_count), count);
  }
  std::vector<MetadataEntry> entries;
  entries.reserve(count);
  std::uint32_t user_count = 0;
  for (std::size_t i = 0; i < count; ++i) {
    // 32 + 2047 * 32 = 64 KiB: the entries lie inside the table.
    const std::size_t at = sizeof(RawMetadataTableHeader) + i * sizeof(RawMetadataTableEntry);
    const auto raw = load_raw<RawMetadataTableEntry>(bytes.data() + at);
    const MetadataEntry entry{.item_id = raw.item_id,
                              .offset = raw.offset,
                              .length = raw.length,
                              .flags = raw.flags & kKnownFlags};
    VHDXM_TRY_VOID(validate_place(entry, region.file_offset + at, region));
    if (entry.is_user()) ++user_count;
    entries.push_back(entry);
  }
  if (user_count > kMetadataUserEntryCountMax) {
    return bad_table("at most 1024 items may be the user's, [MS-VHDX] 2.6.1.2", region.file_offset,
                     user_count);
  }
  VHDXM_TRY_VOID(validate_together(entries, region));
  return entries;
}

Result<std::vector<MetadataEntry>> read_metadata_table(File& file, const Region& region) {
  if (region.length < kMetadataTableBytes) {
    return bad_table("the metadata region is smaller than its table, [MS-VHDX] 2.6",
                     region.file_offset, region.length);
  }
  const auto bytes = std::make_unique<std::array<std::byte, kMetadataTableBytes>>();
  VHDXM_TRY_VOID(
      read_exact_at(file, region.file_offset, *bytes, "metadata table, [MS-VHDX] 2.6.1"));
  return parse_metadata_table(*bytes, region);
}

Result<Description> read_description(File& file, const Region& region) {
  VHDXM_TRY(const auto entries, read_metadata_table(file, region));
  return ItemReader(file, region, entries).read();
}

}  // namespace vhdxm::vhdx
