#include "tests/support/vhdx_builder.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"

namespace vhdxm::test {
namespace {

constexpr Guid kBatGuid = guid_literal("2dc27766-f623-4200-9d64-115e9bfd4a08");
constexpr Guid kMetadataGuid = guid_literal("8b7ca206-4790-4b9a-b8fe-575f050f886e");

void store(std::span<std::byte> bytes, std::size_t offset, std::uint64_t value,
           std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) {
    bytes[offset + i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
  }
}

void store_text(std::span<std::byte> bytes, std::size_t offset, std::string_view text) {
  std::memcpy(bytes.data() + offset, text.data(), text.size());
}

void store_guid(std::span<std::byte> bytes, std::size_t offset, const Guid& guid) {
  std::memcpy(bytes.data() + offset, guid.bytes.data(), guid.bytes.size());
}

std::vector<std::byte> number(std::uint64_t value, std::size_t length) {
  std::vector<std::byte> bytes(length);
  store(bytes, 0, value, length);
  return bytes;
}

void append(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

}  // namespace

std::vector<std::byte> utf16(std::string_view ascii) {
  std::vector<std::byte> bytes;
  for (const char c : ascii) {
    bytes.push_back(static_cast<std::byte>(c));
    bytes.push_back(std::byte{0});
  }
  return bytes;
}

std::string braced(const Guid& guid) {
  return "{" + to_string(guid) + "}";
}

std::vector<std::byte> encode_locator(
    const std::vector<std::pair<std::string, std::string>>& entries) {
  std::vector<std::byte> item(20 + 12 * entries.size());
  store_guid(item, 0, guid_literal("b04aefb7-d19e-4a81-b789-25b8e9445913"));
  store(item, 18, entries.size(), 2);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto key = utf16(entries[i].first);
    const auto value = utf16(entries[i].second);
    const std::size_t at = 20 + 12 * i;
    store(item, at, item.size(), 4);
    store(item, at + 4, item.size() + key.size(), 4);
    store(item, at + 8, key.size(), 2);
    store(item, at + 10, value.size(), 2);
    append(item, key);
    append(item, value);
  }
  return item;
}

void seal_log_entry(std::span<std::byte> entry) {
  store(entry, 4, 0, 4);
  store(entry, 4, crc32c(entry), 4);
}

std::vector<std::byte> encode_log_entry(const LogEntrySpec& spec) {
  const std::size_t count = spec.descriptors.size();
  const std::size_t descriptor_sectors = count <= 126 ? 1 : 1 + (count - 126 + 127) / 128;
  const auto data_count = static_cast<std::size_t>(
      std::count_if(spec.descriptors.begin(), spec.descriptors.end(),
                    [](const LogDescriptor& d) { return !d.zero_length; }));
  std::vector<std::byte> entry((descriptor_sectors + data_count + spec.padding_sectors) * 4096);
  store_text(entry, 0, "loge");
  store(entry, 8, entry.size(), 4);
  store(entry, 12, spec.tail, 4);
  store(entry, 16, spec.sequence_number, 8);
  store(entry, 24, count, 4);
  store_guid(entry, 32, spec.log_guid);
  store(entry, 48, spec.flushed_file_offset, 8);
  store(entry, 56, spec.last_file_offset, 8);
  std::size_t data_at = descriptor_sectors * 4096;
  for (std::size_t i = 0; i < count; ++i) {
    const LogDescriptor& descriptor = spec.descriptors[i];
    const std::size_t at = 64 + 32 * i;
    store(entry, at + 16, descriptor.file_offset, 8);
    store(entry, at + 24, spec.sequence_number, 8);
    if (descriptor.zero_length) {
      store_text(entry, at, "zero");
      store(entry, at + 8, *descriptor.zero_length, 8);
      continue;
    }
    std::vector<std::byte> sector = descriptor.sector;
    if (sector.empty()) sector.assign(4096, static_cast<std::byte>(descriptor.fill));
    VHDXM_CHECK(sector.size() == 4096);
    store_text(entry, at, "desc");
    std::memcpy(entry.data() + at + 4, sector.data() + 4092, 4);
    std::memcpy(entry.data() + at + 8, sector.data(), 8);
    std::memcpy(entry.data() + data_at, sector.data(), 4096);
    store_text(entry, data_at, "data");
    store(entry, data_at + 4, spec.sequence_number >> 32, 4);
    store(entry, data_at + 4092, spec.sequence_number & 0xffffffff, 4);
    data_at += 4096;
  }
  seal_log_entry(entry);
  return entry;
}

VhdxBuilder::VhdxBuilder() : VhdxBuilder(Options{}) {}

VhdxBuilder::VhdxBuilder(Options options)
    : options_(std::move(options)), file_(std::make_shared<MemoryFile>(options_.name)) {
  std::vector<std::byte> signature(8);
  store_text(signature, 0, "vhdxfile");
  put(0, signature);
  write_header(0, 7);
  write_header(1, 8);
  const std::uint64_t bat_bytes = (bat_entries() * 8 + kMiB - 1) / kMiB * kMiB;
  regions = {{kBatGuid, kBatAt, static_cast<std::uint32_t>(bat_bytes), 1},
             {kMetadataGuid, kMetadataAt, kMiB, 1}};
  write_regions();

  std::vector<std::byte> parameters = number(options_.block_bytes, 8);
  store(parameters, 4, (options_.leave_allocated ? 1U : 0U) | (options_.locator ? 2U : 0U), 4);
  std::vector<std::byte> id(16);
  store_guid(id, 0, options_.disk_id);
  items = {
      {.id = guid_literal("caa16737-fa36-4d43-b3b6-33f0aa44e76b"),
       .flags = 4,
       .content = parameters},
      {.id = guid_literal("2fa54224-cd1b-4876-b211-5dbed83bf4b8"),
       .flags = 6,
       .content = number(options_.virtual_size, 8)},
      {.id = guid_literal("beca12ab-b2e6-4523-93ef-c309e000c746"), .flags = 6, .content = id},
      {.id = guid_literal("8141bf1d-a96f-4709-ba47-f233a8faab5f"),
       .flags = 6,
       .content = number(options_.logical_sector, 4)},
      {.id = guid_literal("cda348c7-445d-4471-9cc9-e9885251c556"),
       .flags = 6,
       .content = number(options_.physical_sector, 4)},
  };
  if (options_.locator) {
    items.push_back({.id = guid_literal("a8d35f2d-b30b-454d-abf7-d3d84834ab0c"),
                     .flags = 4,
                     .content = encode_locator(*options_.locator)});
  }
  write_metadata();
  resize(std::max(kBatAt + bat_bytes, kLogAt + options_.log_length));
}

void VhdxBuilder::put(std::uint64_t offset, std::span<const std::byte> bytes) {
  VHDXM_CHECK(!file_->write_at(offset, bytes).has_error());
}
void VhdxBuilder::put8(std::uint64_t offset, std::uint8_t value) {
  put(offset, number(value, 1));
}
void VhdxBuilder::put16(std::uint64_t offset, std::uint16_t value) {
  put(offset, number(value, 2));
}
void VhdxBuilder::put32(std::uint64_t offset, std::uint32_t value) {
  put(offset, number(value, 4));
}
void VhdxBuilder::put64(std::uint64_t offset, std::uint64_t value) {
  put(offset, number(value, 8));
}
void VhdxBuilder::put_guid(std::uint64_t offset, const Guid& guid) {
  put(offset, std::as_bytes(std::span(guid.bytes)));
}

void VhdxBuilder::fill(std::uint64_t offset, std::uint64_t length, std::uint8_t value) {
  put(offset,
      std::vector<std::byte>(static_cast<std::size_t>(length), static_cast<std::byte>(value)));
}

std::vector<std::byte> VhdxBuilder::get(std::uint64_t offset, std::size_t length) const {
  std::vector<std::byte> bytes(length);
  VHDXM_CHECK(!file_->read_some_at(offset, bytes).has_error());
  return bytes;
}

std::uint64_t VhdxBuilder::size() const {
  return *file_->size();
}

void VhdxBuilder::resize(std::uint64_t size_bytes) {
  VHDXM_CHECK(!file_->resize(size_bytes).has_error());
}

void VhdxBuilder::write_header(int slot, std::uint64_t sequence_number) {
  std::vector<std::byte> header(4096);
  store_text(header, 0, "head");
  store(header, kHeaderSequence, sequence_number, 8);
  store_guid(header, kHeaderFileWriteGuid, guid_literal("ffffffff-0000-0000-0000-000000000001"));
  store_guid(header, kHeaderDataWriteGuid, options_.data_write_guid);
  store_guid(header, kHeaderLogGuid, options_.log_guid);
  store(header, kHeaderVersion, 1, 2);
  store(header, kHeaderLogLength, options_.log_length, 4);
  store(header, kHeaderLogOffset, kLogAt, 8);
  put(kHeaderAt[slot], header);
  seal_header(slot);
}

void VhdxBuilder::seal_header(int slot) {
  put32(kHeaderAt[slot] + 4, 0);
  put32(kHeaderAt[slot] + 4, crc32c(get(kHeaderAt[slot], 4096)));
}

void VhdxBuilder::put_header64(std::uint64_t field, std::uint64_t value) {
  for (const int slot : {0, 1}) {
    put64(kHeaderAt[slot] + field, value);
    seal_header(slot);
  }
}

void VhdxBuilder::put_header32(std::uint64_t field, std::uint32_t value) {
  for (const int slot : {0, 1}) {
    put32(kHeaderAt[slot] + field, value);
    seal_header(slot);
  }
}

void VhdxBuilder::put_header16(std::uint64_t field, std::uint16_t value) {
  for (const int slot : {0, 1}) {
    put16(kHeaderAt[slot] + field, value);
    seal_header(slot);
  }
}

void VhdxBuilder::put_header_guid(std::uint64_t field, const Guid& guid) {
  for (const int slot : {0, 1}) {
    put_guid(kHeaderAt[slot] + field, guid);
    seal_header(slot);
  }
}

void VhdxBuilder::write_regions(std::optional<std::uint32_t> entry_count) {
  std::vector<std::byte> table(64 << 10);
  store_text(table, 0, "regi");
  store(table, 8, entry_count ? *entry_count : regions.size(), 4);
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const std::size_t at = 16 + 32 * i;
    store_guid(table, at, regions[i].guid);
    store(table, at + 16, regions[i].offset, 8);
    store(table, at + 24, regions[i].length, 4);
    store(table, at + 28, regions[i].required, 4);
  }
  for (const int copy : {0, 1}) {
    put(kRegionTableAt[copy], table);
    seal_region_table(copy);
  }
}

void VhdxBuilder::seal_region_table(int copy) {
  put32(kRegionTableAt[copy] + 4, 0);
  put32(kRegionTableAt[copy] + 4, crc32c(get(kRegionTableAt[copy], 64 << 10)));
}

void VhdxBuilder::write_metadata(std::optional<std::uint16_t> entry_count) {
  std::vector<std::byte> table(64 << 10);
  store_text(table, 0, "metadata");
  store(table, 10, entry_count ? *entry_count : items.size(), 2);
  std::uint32_t next = 64 << 10;
  for (std::size_t i = 0; i < items.size(); ++i) {
    ItemSpec& item = items[i];
    const std::uint32_t length =
        item.length.value_or(static_cast<std::uint32_t>(item.content.size()));
    if (item.offset == 0 && length != 0) item.offset = next;
    const std::size_t at = 32 + 32 * i;
    store_guid(table, at, item.id);
    store(table, at + 16, item.offset, 4);
    store(table, at + 20, length, 4);
    store(table, at + 24, item.flags, 4);
    if (!item.content.empty()) put(kMetadataAt + item.offset, item.content);
    next = std::max(next, item.offset + static_cast<std::uint32_t>(item.content.size()));
  }
  put(kMetadataAt, table);
}

std::uint64_t VhdxBuilder::chunk_ratio() const {
  return (std::uint64_t{1} << 23) * options_.logical_sector / options_.block_bytes;
}

std::uint64_t VhdxBuilder::bat_entries() const {
  const std::uint64_t blocks =
      (options_.virtual_size + options_.block_bytes - 1) / options_.block_bytes;
  if (blocks == 0) return 0;
  if (!options_.locator) return blocks + (blocks - 1) / chunk_ratio();
  return (blocks + chunk_ratio() - 1) / chunk_ratio() * (chunk_ratio() + 1);
}

std::uint64_t VhdxBuilder::payload_index(std::uint64_t block) const {
  return block + block / chunk_ratio();
}

std::uint64_t VhdxBuilder::bitmap_index(std::uint64_t chunk) const {
  return chunk * (chunk_ratio() + 1) + chunk_ratio();
}

std::uint64_t VhdxBuilder::allocate(std::uint64_t length) {
  const std::uint64_t at = (size() + kMiB - 1) / kMiB * kMiB;
  resize(at + length);
  return at;
}

std::uint64_t VhdxBuilder::add_block(std::uint64_t block, std::uint8_t value, std::uint64_t state) {
  const std::uint64_t at = allocate(options_.block_bytes);
  if (value != 0) fill(at, options_.block_bytes, value);
  set_block(block, at | state);
  return at;
}

std::uint64_t VhdxBuilder::add_bitmap(std::uint64_t chunk) {
  const std::uint64_t at = allocate(kMiB);
  set_entry(bitmap_index(chunk), at | 6);
  bitmaps_.emplace_back(chunk, at);
  return at;
}

void VhdxBuilder::set_bits(std::uint64_t first_sector, std::uint64_t end_sector) {
  for (std::uint64_t sector = first_sector; sector < end_sector; ++sector) {
    const std::uint64_t chunk = sector >> 23;
    const std::uint64_t bit = sector & ((1 << 23) - 1);
    const auto bitmap = std::find_if(bitmaps_.begin(), bitmaps_.end(),
                                     [&](const auto& b) { return b.first == chunk; });
    VHDXM_CHECK(bitmap != bitmaps_.end());
    const std::uint64_t at = bitmap->second + bit / 8;
    put8(at, static_cast<std::uint8_t>(std::to_integer<unsigned>(get(at, 1)[0]) | 1U << bit % 8));
  }
}

void VhdxBuilder::put_log(std::uint64_t log_offset, std::span<const std::byte> entry) {
  const std::uint64_t to_end =
      std::min<std::uint64_t>(entry.size(), options_.log_length - log_offset);
  put(kLogAt + log_offset, entry.first(static_cast<std::size_t>(to_end)));
  if (to_end < entry.size()) put(kLogAt, entry.subspan(static_cast<std::size_t>(to_end)));
}

std::uint64_t VhdxBuilder::add_log_entry(std::uint64_t log_offset, LogEntrySpec spec) {
  if (spec.log_guid.is_zero()) spec.log_guid = options_.log_guid;
  const std::vector<std::byte> entry = encode_log_entry(spec);
  put_log(log_offset, entry);
  return (log_offset + entry.size()) % options_.log_length;
}

}  // namespace vhdxm::test
