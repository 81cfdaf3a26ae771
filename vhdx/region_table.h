// The region table: where the BAT, the metadata and what later producers add stand in the file.
//
// Spec: [MS-VHDX] 2.2.3. Two copies, at 192 KiB and 256 KiB, that change only through the log:
// to be read after its replay.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/file.h"
#include "base/guid.h"
#include "vhdx/format.h"
#include "vhdx/header.h"

namespace vhdxm::vhdx {

struct Region {
  Guid guid;
  std::uint64_t file_offset = 0;  ///< Bytes, a multiple of 1 MiB, at least 1 MiB.
  std::uint32_t length = 0;       ///< Bytes, a multiple of 1 MiB.
  bool required = false;          ///< Whoever does not know it must not open the file.

  friend bool operator==(const Region&, const Region&) = default;
  std::uint64_t end() const { return file_offset + length; }
};

/// Invariant: GUIDs are unique; no region wraps; both known regions are there.
struct RegionTable {
  std::vector<Region> entries;  ///< In table order, unknown optional ones included.
  std::size_t bat_index = 0;
  std::size_t metadata_index = 0;

  const Region& bat() const { return entries[bat_index]; }
  const Region& metadata() const { return entries[metadata_index]; }
};

/// Parses the 64 KiB of one copy, which stand at `table_offset` of the file.
/// Errors: Errc::kNoValidRegionTable for a wrong signature or checksum; kBadRegionTable,
/// kUnknownRequiredRegion, kMissingRegion.
Result<RegionTable> parse_region_table(std::span<const std::byte, kRegionTableBytes> bytes,
                                       std::uint64_t table_offset);

/// Proves that regions and log share no byte, and that every region lies inside the file.
/// Errors: Errc::kOverlap, kOutsideFile.
Result<void> validate_regions(const RegionTable& table, const Header& header,
                              std::uint64_t file_bytes);

/// Reads the first copy, or the second where the first has no valid checksum, and validates it.
Result<RegionTable> read_region_table(File& file, const Header& header);

}  // namespace vhdxm::vhdx
