#include "vhdx/check_regions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <set>

#include "base/crc32c.h"

namespace vhdxm::vhdx {
namespace {

using RegionTableCopy = std::array<std::byte, kRegionTableBytes>;

bool is_known(const Guid& guid) {
  return guid == kBatRegion || guid == kMetadataRegion;
}

std::string name_of(const Guid& guid) {
  if (guid == kBatRegion) return "the BAT region";
  if (guid == kMetadataRegion) return "the metadata region";
  return "region " + braced(guid);
}

/// Whether signature and checksum of a copy are good.
bool check_copy(const RegionTableCopy& bytes, std::size_t copy, Finding::Severity severity,
                FindingList& findings) {
  const auto header = load_raw<RawRegionTableHeader>(bytes.data());
  const std::uint64_t at = kRegionTableOffsets[copy];
  if (header.signature != kRegionSignature) {
    findings.add(severity, "2.2.3.1",
                 fmt::format("region table {} has no signature: {:#010x} instead of {:#010x}",
                             copy + 1, std::uint32_t{header.signature}, kRegionSignature),
                 at);
    return false;
  }
  const std::uint32_t checksum =
      crc32c_with_field_zero(bytes, offsetof(RawRegionTableHeader, checksum));
  if (header.checksum != checksum) {
    findings.add(severity, "2.2.3.1",
                 fmt::format("region table {} has the checksum {:#010x}, its content {:#010x}",
                             copy + 1, std::uint32_t{header.checksum}, checksum),
                 at + offsetof(RawRegionTableHeader, checksum));
    return false;
  }
  return true;
}

/// Whether the region's place can be used for anything.
bool check_entry(const RawRegionTableEntry& entry, std::uint64_t at, FindingList& findings) {
  const std::string name = name_of(entry.region);
  const std::uint64_t begin = entry.file_offset;
  const std::uint32_t length = entry.length;
  if ((entry.required & ~std::uint32_t{1}) != 0) {
    findings.warning("2.2.3.2", fmt::format("{} has reserved bits set beside Required", name),
                     at + offsetof(RawRegionTableEntry, required));
  }
  if (is_known(entry.region) && entry.required == 0) {
    findings.note("2.2.3.2", fmt::format("{} is not marked Required (QEMU writes it so)", name),
                  at + offsetof(RawRegionTableEntry, required));
  }
  if (!is_known(entry.region)) {
    if ((entry.required & 1) != 0) {
      findings.corrupt("2.2.3.2",
                       fmt::format("{} must be understood, and this program does not", name), at);
    } else {
      findings.note("2.2.3.2", fmt::format("{} is optional and unknown", name), at);
    }
  }
  if (begin % kObjectAlignment != 0 || begin < kHeaderSectionBytes ||
      length % kObjectAlignment != 0 ||
      begin > std::numeric_limits<std::uint64_t>::max() - length) {
    findings.corrupt("2.2.3.2",
                     fmt::format("{} stands at {} with {} bytes: both must be multiples of 1 MiB, "
                                 "behind the header section",
                                 name, begin, length),
                     at + offsetof(RawRegionTableEntry, file_offset));
    return false;
  }
  return true;
}

}  // namespace

Result<CheckedRegions> check_regions(File& file, FindingList& findings) {
  std::array<std::unique_ptr<RegionTableCopy>, 2> copies;
  std::array<bool, 2> whole{};
  for (std::size_t i = 0; i < copies.size(); ++i) {
    copies[i] = std::make_unique<RegionTableCopy>();
    VHDXM_TRY(const std::size_t got, file.read_some_at(kRegionTableOffsets[i], *copies[i]));
    whole[i] = got == copies[i]->size();
  }
  // Which of them is good has to be known before one that is not can be judged.
  FindingList discarded;
  std::array<bool, 2> good{};
  for (std::size_t i = 0; i < copies.size(); ++i) {
    good[i] = whole[i] && check_copy(*copies[i], i, Finding::Severity::kNote, discarded);
  }
  const auto severity =
      good[0] || good[1] ? Finding::Severity::kWarning : Finding::Severity::kCorrupt;
  for (std::size_t i = 0; i < copies.size(); ++i) {
    if (!whole[i]) {
      findings.add(severity, "2.2.3", fmt::format("the file ends before region table {}", i + 1),
                   kRegionTableOffsets[i]);
    } else if (!good[i]) {
      check_copy(*copies[i], i, severity, findings);
    }
  }
  CheckedRegions checked;
  if (!good[0] && !good[1]) return checked;
  if (good[0] && good[1] && *copies[0] != *copies[1]) {
    findings.warning("2.2.3", "the two region tables differ; the first is used",
                     kRegionTableOffsets[1]);
  }

  const std::size_t used = good[0] ? 0 : 1;
  const RegionTableCopy& bytes = *copies[used];
  const std::uint64_t table_offset = kRegionTableOffsets[used];
  const auto header = load_raw<RawRegionTableHeader>(bytes.data());
  if (header.reserved != 0) {
    findings.warning("2.2.3.1", "the region table's Reserved field is not zero",
                     table_offset + offsetof(RawRegionTableHeader, reserved));
  }
  std::uint32_t count = header.entry_count;
  if (count > kRegionEntryCountMax) {
    findings.corrupt("2.2.3.1",
                     fmt::format("the region table has an EntryCount of {}, the most is {}", count,
                                 kRegionEntryCountMax),
                     table_offset + offsetof(RawRegionTableHeader, entry_count));
    count = kRegionEntryCountMax;
  }
  std::set<Guid> seen;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::size_t in_table = sizeof header + i * sizeof(RawRegionTableEntry);
    const std::uint64_t at = table_offset + in_table;
    const auto entry = load_raw<RawRegionTableEntry>(bytes.data() + in_table);
    if (!seen.insert(entry.region).second) {
      findings.corrupt("2.2.3.2", name_of(entry.region) + " stands in the table twice", at);
      continue;
    }
    if (!check_entry(entry, at, findings)) continue;
    const Region region{.guid = entry.region,
                        .file_offset = entry.file_offset,
                        .length = entry.length,
                        .required = (entry.required & 1) != 0};
    checked.regions.push_back(region);
    if (region.guid == kBatRegion) checked.bat = region;
    if (region.guid == kMetadataRegion) checked.metadata = region;
  }
  for (const Guid& guid : {kBatRegion, kMetadataRegion}) {
    if (!seen.contains(guid)) {
      findings.corrupt("2.2.3.2", name_of(guid) + " is not in the table", table_offset);
    }
  }
  return checked;
}

}  // namespace vhdxm::vhdx
