#include "tools/disk_report.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/locale/utf.hpp>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/size_text.h"
#include "tools/json_output.h"
#include "tools/printable_text.h"

namespace vhdxm::tools {
namespace {

using vhdx::PayloadState;

struct StateName {
  PayloadState state;
  const char* json;
  const char* text;
};
constexpr std::array kStateNames = {
    StateName{PayloadState::kFullyPresent, "fully_present", "present"},
    StateName{PayloadState::kPartiallyPresent, "partially_present", "partially present"},
    StateName{PayloadState::kZero, "zero", "zero"},
    StateName{PayloadState::kUnmapped, "unmapped", "unmapped"},
    StateName{PayloadState::kUnmappedV095, "unmapped_v095", "unmapped (draft 0.95)"},
    StateName{PayloadState::kUndefined, "undefined", "undefined"},
    StateName{PayloadState::kNotPresent, "not_present", "not present"},
};

std::string slot_state(vhdx::HeaderSlot::State state) {
  using enum vhdx::HeaderSlot::State;
  switch (state) {
    case kValid:
      return "valid";
    case kFileTooShort:
      return "file too short";
    case kBadSignature:
      return "wrong signature";
    case kBadChecksum:
      return "wrong checksum";
  }
  return "unknown";
}

std::string region_name(const Guid& guid) {
  if (guid == vhdx::kBatRegion) return "BAT";
  if (guid == vhdx::kMetadataRegion) return "metadata";
  return to_string(guid);
}

Result<std::string> read_creator(File& file) {
  std::array<std::byte, sizeof(vhdx::RawFileIdentifier)> bytes{};
  VHDXM_TRY_VOID(read_exact_at(file, vhdx::kFileIdentifierOffset, bytes, "file type identifier"));
  const auto raw = load_raw<vhdx::RawFileIdentifier>(bytes.data());
  std::u16string units;
  for (const Le16& unit : raw.creator) {
    if (unit == 0) break;
    units += static_cast<char16_t>(std::uint16_t{unit});
  }
  using Utf16 = boost::locale::utf::utf_traits<char16_t>;
  using Utf8 = boost::locale::utf::utf_traits<char>;
  std::string text;
  for (auto at = units.begin(); at != units.end();) {
    const auto point = Utf16::decode(at, units.end());
    Utf8::encode(boost::locale::utf::is_valid_codepoint(point) ? point : 0xfffd,
                 std::back_inserter(text));
  }
  return text;
}

Result<std::array<std::uint64_t, 8>> count_blocks(vhdx::Layer& layer) {
  constexpr std::uint64_t kStatesAtOnce = 64 * 1024;
  std::array<std::uint64_t, 8> counts{};
  std::vector<PayloadState> states;
  const std::uint64_t block_count = layer.geometry().block_count();
  for (std::uint64_t first = 0; first < block_count; first += states.size()) {
    states.resize(static_cast<std::size_t>(std::min(kStatesAtOnce, block_count - first)));
    VHDXM_TRY_VOID(layer.payload_states(first, states));
    for (const PayloadState state : states) ++counts[static_cast<std::size_t>(state) % 8];
  }
  return counts;
}

std::string size_text(std::uint64_t bytes) {
  return fmt::format("{} ({} bytes)", format_size(bytes), bytes);
}

class Table {
 public:
  void row(std::string_view name, std::string_view value) {
    text_ += fmt::format("  {:<21}{}\n", name, value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void add_log(Table& table, const DiskReport& report) {
  const std::string place = fmt::format("{} at {}", format_size(report.header.log_length),
                                        format_size(report.header.log_offset));
  if (report.header.log_guid.is_zero()) {
    table.row("log", "clean, " + place);
  } else {
    table.row("log", fmt::format("dirty, {}: {} {} replayed in memory, the file was not changed",
                                 place, report.replayed_entries,
                                 report.replayed_entries == 1 ? "entry" : "entries"));
  }
}

void add_headers(Table& table, const DiskReport& report) {
  for (std::size_t i = 0; i < report.headers.slots.size(); ++i) {
    const vhdx::HeaderSlot& slot = report.headers.slots[i];
    std::string value = slot_state(slot.state);
    if (slot.state == vhdx::HeaderSlot::State::kValid) {
      value += fmt::format(", sequence number {}", slot.header.sequence_number);
      if (slot.header == report.header) value += ", current";
    }
    table.row(fmt::format("header {}", i + 1), value);
  }
}

void add_blocks(Table& table, const DiskReport& report) {
  std::string value = fmt::format("{}", report.description.geometry.block_count());
  const char* separator = ": ";
  for (const StateName& name : kStateNames) {
    const std::uint64_t count = report.blocks[static_cast<std::size_t>(name.state)];
    if (count == 0) continue;
    value += fmt::format("{}{} {}", separator, count, name.text);
    separator = ", ";
  }
  table.row("blocks", value);
}

boost::json::object log_json(const DiskReport& report) {
  boost::json::object log;
  log["dirty"] = !report.header.log_guid.is_zero();
  log["replayed_entries"] = report.replayed_entries;
  log["offset"] = report.header.log_offset;
  log["length"] = report.header.log_length;
  log["guid"] = to_string(report.header.log_guid);
  return log;
}

boost::json::array headers_json(const DiskReport& report) {
  boost::json::array headers;
  for (std::size_t i = 0; i < report.headers.slots.size(); ++i) {
    const vhdx::HeaderSlot& slot = report.headers.slots[i];
    const bool valid = slot.state == vhdx::HeaderSlot::State::kValid;
    boost::json::object header;
    header["offset"] = vhdx::kHeaderOffsets[i];
    header["state"] = slot_state(slot.state);
    if (valid) header["sequence_number"] = slot.header.sequence_number;
    header["current"] = valid && slot.header == report.header;
    headers.push_back(header);
  }
  return headers;
}

boost::json::object parent_json(const vhdx::ParentLocator& locator) {
  boost::json::object parent;
  const auto linkage = locator.linkage();
  const auto linkage2 = locator.linkage2();
  if (linkage) parent["linkage"] = to_string(*linkage);
  if (linkage2) parent["linkage2"] = to_string(*linkage2);
  boost::json::object entries;
  for (const auto& [key, value] : locator.entries) entries[valid_utf8(key)] = json_text(value);
  parent["locator"] = entries;
  return parent;
}

}  // namespace

Result<DiskReport> report_on(const std::string& path, vhdx::Layer& layer) {
  DiskReport report;
  report.path = path;
  report.description = layer.description();
  report.header = layer.header();
  report.regions = layer.regions().entries;
  report.replayed_entries = layer.replayed_entries();
  VHDXM_TRY(report.headers, vhdx::read_header_slots(layer.file()));
  VHDXM_TRY(report.creator, read_creator(layer.file()));
  VHDXM_TRY(report.file_bytes, layer.file().size());
  VHDXM_TRY(report.blocks, count_blocks(layer));
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    // Of the file as it is, not as its log would make it.
    report.file_bytes = static_cast<std::uint64_t>(status.st_size);
    report.allocated_bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return report;
}

std::string to_text(const DiskReport& report) {
  const vhdx::Description& disk = report.description;
  Table table;
  table.row("type", vhdx::to_string(disk.geometry.type));
  table.row("virtual size", size_text(disk.geometry.virtual_size_bytes));
  table.row("file size", size_text(report.file_bytes));
  table.row("on its file system", size_text(report.allocated_bytes));
  table.row("block size", size_text(disk.geometry.block_bytes));
  table.row("sectors",
            fmt::format("{} bytes logical, {} bytes physical", disk.geometry.logical_sector_bytes,
                        disk.geometry.physical_sector_bytes));
  add_blocks(table, report);
  table.row("virtual disk ID", to_string(disk.virtual_disk_id));
  table.row("data write GUID", to_string(disk.data_write_guid));
  table.row("file write GUID", to_string(report.header.file_write_guid));
  if (disk.parent) {
    const auto linkage = disk.parent->linkage();
    table.row("parent linkage", linkage ? to_string(*linkage) : "none");
    if (const auto other = disk.parent->linkage2()) {
      table.row("parent linkage 2", to_string(*other));
    }
    for (const auto& [key, value] : disk.parent->entries) {
      if (key.find("path") != std::string::npos) table.row(printable(key), printable(value));
    }
  }
  table.row("creator", report.creator.empty() ? "not given" : printable(report.creator));
  add_log(table, report);
  add_headers(table, report);
  for (const vhdx::Region& region : report.regions) {
    table.row("region", fmt::format("{}, {} at {}{}", region_name(region.guid),
                                    format_size(region.length), format_size(region.file_offset),
                                    region.required ? "" : ", not required"));
  }
  for (const vhdx::OpaqueItem& item : disk.opaque_items) {
    table.row("foreign item",
              fmt::format("{}, {} bytes{}", to_string(item.item_id), item.content.size(),
                          (item.flags & vhdx::kMetadataIsUser) != 0 ? ", of a user" : ""));
  }
  return table.take();
}

boost::json::object to_json(const DiskReport& report) {
  const vhdx::Description& disk = report.description;
  boost::json::object object;
  object["disk"] = json_text(report.path);
  object["disk_type"] = vhdx::to_string(disk.geometry.type);
  object["virtual_bytes"] = disk.geometry.virtual_size_bytes;
  object["file_bytes"] = report.file_bytes;
  object["allocated_bytes"] = report.allocated_bytes;
  object["block_bytes"] = disk.geometry.block_bytes;
  object["logical_sector_bytes"] = disk.geometry.logical_sector_bytes;
  object["physical_sector_bytes"] = disk.geometry.physical_sector_bytes;
  object["virtual_disk_id"] = to_string(disk.virtual_disk_id);
  object["data_write_guid"] = to_string(disk.data_write_guid);
  object["file_write_guid"] = to_string(report.header.file_write_guid);
  object["creator"] = json_text(report.creator);
  boost::json::object blocks;
  blocks["total"] = disk.geometry.block_count();
  for (const StateName& name : kStateNames) {
    blocks[name.json] = report.blocks[static_cast<std::size_t>(name.state)];
  }
  object["blocks"] = blocks;
  object["log"] = log_json(report);
  object["headers"] = headers_json(report);
  boost::json::array regions;
  for (const vhdx::Region& region : report.regions) {
    regions.push_back({{"name", region_name(region.guid)},
                       {"guid", to_string(region.guid)},
                       {"offset", region.file_offset},
                       {"length", region.length},
                       {"required", region.required}});
  }
  object["regions"] = regions;
  boost::json::array items;
  for (const vhdx::OpaqueItem& item : disk.opaque_items) {
    items.push_back({{"item_id", to_string(item.item_id)},
                     {"length", item.content.size()},
                     {"user", (item.flags & vhdx::kMetadataIsUser) != 0},
                     {"virtual_disk", (item.flags & vhdx::kMetadataIsVirtualDisk) != 0}});
  }
  object["opaque_items"] = items;
  if (disk.parent) object["parent"] = parent_json(*disk.parent);
  return object;
}

}  // namespace vhdxm::tools
