// The metadata region: a table of items, and the items that describe the virtual disk.
//
// Spec: [MS-VHDX] 2.6. The table has no checksum of its own, so everything in it is doubted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/file.h"
#include "vhdx/description.h"
#include "vhdx/format.h"
#include "vhdx/region_table.h"

namespace vhdxm::vhdx {

/// Metadata that its producer never finished; in no specification, but seen in other programs.
inline constexpr Guid kIncompleteFileItem = guid_literal("71cc85f0-1b69-4e28-9558-c3bf83ae75d3");

/// Foreign metadata that is carried along, all items together. Ours: the format allows 2 GiB.
inline constexpr std::uint64_t kOpaqueBytesMax = 16 * kMiB;

struct MetadataEntry {
  Guid item_id;
  std::uint32_t offset = 0;  ///< Bytes from the start of the region; 0 if the item is empty.
  std::uint32_t length = 0;  ///< Bytes.
  std::uint32_t flags = 0;   ///< kMetadataIsUser and so on; reserved bits dropped.

  bool is_user() const { return (flags & kMetadataIsUser) != 0; }
};

/// Parses the table's 64 KiB, which stand at region.file_offset.
/// Every item lies inside the region, overlaps no other, and is at most 1 MiB long.
/// Errors: Errc::kBadMetadataTable.
Result<std::vector<MetadataEntry>> parse_metadata_table(
    std::span<const std::byte, kMetadataTableBytes> bytes, const Region& region);

/// Reads and parses the table. Errors: as above; Errc::kBadMetadataTable for too short a region.
Result<std::vector<MetadataEntry>> read_metadata_table(File& file, const Region& region);

/// Reads the items. `data_write_guid` is left zero: it is the header's.
/// Errors: Errc::kMissingItem, kBadItem, kUnknownRequiredItem, kIncompleteFile, kBadGeometry,
/// kMetadataTooLarge, those of parse_parent_locator().
Result<Description> read_description(File& file, const Region& region);

}  // namespace vhdxm::vhdx
