#include "vhdx/region_table.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <optional>

#include "base/crc32c.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

std::uint64_t entry_offset(std::uint64_t table_offset, std::size_t index) {
  return table_offset + sizeof(RawRegionTableHeader) + index * sizeof(RawRegionTableEntry);
}

Result<Region> parse_entry(const RawRegionTableEntry& raw, std::uint64_t at) {
  const Region region{.guid = raw.region,
                      .file_offset = raw.file_offset,
                      .length = raw.length,
                      .required = (raw.required & 1) != 0};
  const std::uint64_t offset_at = at + offsetof(RawRegionTableEntry, file_offset);
  if (region.file_offset % kObjectAlignment != 0) {
    return format_error(Errc::kBadRegionTable,
                        "region FileOffset must be a multiple of 1 MiB, [MS-VHDX] 2.2.3.2",
                        offset_at, region.file_offset);
  }
  if (region.file_offset < kHeaderSectionBytes) {
    return format_error(Errc::kBadRegionTable,
                        "region FileOffset lies in the header section, [MS-VHDX] 2.2.3.2",
                        offset_at, region.file_offset);
  }
  if (region.length % kObjectAlignment != 0) {
    return format_error(Errc::kBadRegionTable,
                        "region Length must be a multiple of 1 MiB, [MS-VHDX] 2.2.3.2",
                        at + offsetof(RawRegionTableEntry, length), region.length);
  }
  if (region.file_offset > std::numeric_limits<std::uint64_t>::max() - region.length) {
    return format_error(Errc::kBadRegionTable,
                        "region FileOffset plus Length exceeds 2^64, [MS-VHDX] 2.2.3.2", offset_at,
                        region.file_offset);
  }
  if (region.required && region.guid != kBatRegion && region.guid != kMetadataRegion) {
    return format_error(Errc::kUnknownRequiredRegion, "region Guid, [MS-VHDX] 2.2.3.2", at)
        .about("region " + to_string(region.guid));
  }
  return region;
}

Result<void> refuse_duplicates(const std::vector<Region>& regions, std::uint64_t table_offset) {
  std::vector<std::size_t> order(regions.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return regions[a].guid != regions[b].guid ? regions[a].guid < regions[b].guid : a < b;
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (regions[order[i - 1]].guid == regions[order[i]].guid) {
      return format_error(Errc::kBadRegionTable,
                          "region Guid stands in the table twice, [MS-VHDX] 2.2.3.2",
                          entry_offset(table_offset, order[i]));
    }
  }
  return {};
}

Result<std::size_t> index_of(const RegionTable& table, const Guid& guid, const char* where,
                             std::uint64_t table_offset) {
  for (std::size_t i = 0; i < table.entries.size(); ++i) {
    if (table.entries[i].guid == guid) return i;
  }
  return format_error(Errc::kMissingRegion, where, table_offset);
}

}  // namespace

Result<RegionTable> parse_region_table(std::span<const std::byte, kRegionTableBytes> bytes,
                                       std::uint64_t table_offset) {
  const auto header = load_raw<RawRegionTableHeader>(bytes.data());
  if (header.signature != kRegionSignature) {
    return format_error(Errc::kNoValidRegionTable, "region table Signature, [MS-VHDX] 2.2.3.1",
                        table_offset, header.signature, kRegionSignature);
  }
  const std::uint32_t checksum =
      crc32c_with_field_zero(bytes, offsetof(RawRegionTableHeader, checksum));
  if (header.checksum != checksum) {
    return format_error(Errc::kNoValidRegionTable, "region table Checksum, [MS-VHDX] 2.2.3.1",
                        table_offset + offsetof(RawRegionTableHeader, checksum), header.checksum,
                        checksum);
  }
  // At most 2047 entries fit into the 64 KiB, as format.h asserts.
  if (header.entry_count > kRegionEntryCountMax) {
    return format_error(
        Errc::kBadRegionTable, "region table EntryCount must be at most 2047, [MS-VHDX] 2.2.3.1",
        table_offset + offsetof(RawRegionTableHeader, entry_count), header.entry_count);
  }
  RegionTable table;
  table.entries.reserve(header.entry_count);
  for (std::size_t i = 0; i < header.entry_count; ++i) {
    const std::uint64_t at = entry_offset(0, i);
    const auto raw = load_raw<RawRegionTableEntry>(bytes.data() + at);
    VHDXM_TRY(const Region region, parse_entry(raw, table_offset + at));
    table.entries.push_back(region);
  }
  VHDXM_TRY_VOID(refuse_duplicates(table.entries, table_offset));
  VHDXM_TRY(table.bat_index,
            index_of(table, kBatRegion, "BAT region, [MS-VHDX] 2.2.3.2", table_offset));
  VHDXM_TRY(table.metadata_index,
            index_of(table, kMetadataRegion, "metadata region, [MS-VHDX] 2.2.3.2", table_offset));
  return table;
}

Result<void> validate_regions(const RegionTable& table, const Header& header,
                              std::uint64_t file_bytes) {
  struct Range {
    std::uint64_t begin;
    std::uint64_t end;
  };
  std::vector<Range> ranges;
  ranges.reserve(table.entries.size() + 1);
  for (const Region& region : table.entries) {
    if (region.end() > file_bytes) {
      return format_error(Errc::kOutsideFile, "end of a region, [MS-VHDX] 2.2.3.2",
                          region.file_offset, region.end(), file_bytes)
          .about("region " + to_string(region.guid));
    }
    if (region.length != 0) ranges.push_back({region.file_offset, region.end()});
  }
  if (header.log_length != 0) ranges.push_back({header.log_offset, header.log_end()});
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].begin < ranges[i - 1].end) {
      return format_error(Errc::kOverlap, "regions and log, [MS-VHDX] 2.2.3.2", ranges[i].begin);
    }
  }
  return {};
}

Result<RegionTable> read_region_table(File& file, const Header& header) {
  const auto bytes = std::make_unique<std::array<std::byte, kRegionTableBytes>>();
  std::optional<Error> first_error;
  for (const std::uint64_t table_offset : kRegionTableOffsets) {
    VHDXM_TRY(const std::size_t got, file.read_some_at(table_offset, *bytes));
    if (got < bytes->size()) {
      if (!first_error) {
        first_error = format_error(Errc::kNoValidRegionTable,
                                   "the file ends before the region table does, [MS-VHDX] 2.2.3",
                                   table_offset, got, bytes->size());
      }
      continue;
    }
    auto table = parse_region_table(*bytes, table_offset);
    if (table.has_error()) {
      // A table whose checksum is good is what its producer meant: the other copy is no better.
      if (table.error().code != Errc::kNoValidRegionTable) return table;
      if (!first_error) first_error = table.error();
      continue;
    }
    VHDXM_TRY(const std::uint64_t file_bytes, file.size());
    VHDXM_TRY_VOID(validate_regions(*table, header, file_bytes));
    return table;
  }
  return std::move(*first_error);
}

}  // namespace vhdxm::vhdx
