#include "tests/support/damaged_image.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/little_endian.h"
#include "vhdx/format.h"

namespace vhdxm::test {
namespace {

using namespace vhdxm::vhdx;

constexpr Guid kParentIdentity = guid_literal("ba5e0000-0000-0000-0000-000000000001");
constexpr Guid kLogGuid = guid_literal("10910910-9109-1091-0910-910910910910");

enum Kind : std::uint8_t {
  kDynamic,
  kFixed,
  kChild,
  kDirty,
  kSectors4K,
  kLarge,
  kDirtyChild,
  kKinds
};
enum Flag : std::uint8_t { kKeepChecksums = 1 };

VhdxBuilder make_parent() {
  VhdxBuilder disk({.name = "parent", .data_write_guid = kParentIdentity});
  for (std::uint64_t block = 0; block < 8; block += 2) {
    const std::uint64_t at = disk.allocate(kMiB);
    disk.fill(at, 8192, 0xbb);
    disk.set_block(block, at | 6);
  }
  return disk;
}

VhdxBuilder make_image(Kind kind) {
  VhdxBuilder::Options options{.name = "disk"};
  const bool is_child = kind == kChild || kind == kDirtyChild;
  const bool is_dirty = kind == kDirty || kind == kDirtyChild;
  options.leave_allocated = kind == kFixed;
  if (is_dirty) options.log_guid = kLogGuid;
  if (kind == kSectors4K) options.logical_sector = 4096;
  if (kind == kLarge) {
    options.virtual_size = 10 * kGiB;
    options.block_bytes = 32 << 20;
  }
  if (is_child) {
    options.locator = {{"parent_linkage", braced(kParentIdentity)},
                       {"parent_linkage2", braced(Guid{})},
                       {"relative_path", ".\\parent.vhdx"}};
  }
  VhdxBuilder disk(options);
  const auto add = [&](std::uint64_t block, std::uint64_t state) {
    const std::uint64_t at = disk.allocate(options.block_bytes);
    disk.fill(at, 8192, 0xcc);
    disk.set_block(block, at | state);
  };
  add(0, 6);
  disk.set_block(1, 2);
  disk.set_block(2, 3);
  add(3, 6);
  if (is_child) {
    disk.fill(disk.add_bitmap(0) + 4 * 256, 3, 0xa5);
    add(4, 7);
  }
  if (is_dirty) {
    const std::vector<std::byte> bat = disk.get(VhdxBuilder::kBatAt, 4096);
    const std::vector<std::byte> metadata = disk.get(VhdxBuilder::kMetadataAt, 4096);
    disk.fill(VhdxBuilder::kBatAt, 64, 0xee);
    const auto tail = static_cast<std::uint32_t>(disk.add_log_entry(
        0,
        {.sequence_number = 5, .descriptors = {{.file_offset = VhdxBuilder::kBatAt, .fill = 4}}}));
    const std::uint64_t next = disk.add_log_entry(
        tail, {.sequence_number = 6,
               .tail = tail,
               .flushed_file_offset = disk.size(),
               .descriptors = {{.file_offset = VhdxBuilder::kBatAt, .sector = bat},
                               {.file_offset = VhdxBuilder::kBatAt + 8192, .zero_length = 8192}}});
    disk.add_log_entry(
        next, {.sequence_number = 7,
               .tail = tail,
               .flushed_file_offset = disk.size(),
               .last_file_offset = disk.size() + kMiB,
               .descriptors = {{.file_offset = VhdxBuilder::kMetadataAt, .sector = metadata}}});
  }
  return disk;
}

/// Where patches go: one structure each, so that an offset's mutations stay in it.
struct Place {
  std::uint64_t begin;
  std::uint64_t length;
};
constexpr std::array<Place, 11> kPlaces = {{
    {VhdxBuilder::kHeaderAt[0], 128},
    {VhdxBuilder::kHeaderAt[1], 128},
    {VhdxBuilder::kRegionTableAt[0], 256},
    {VhdxBuilder::kRegionTableAt[1], 256},
    {VhdxBuilder::kLogAt, 64 << 10},
    {VhdxBuilder::kMetadataAt, 512},
    {VhdxBuilder::kMetadataAt + (64 << 10), 1024},
    {VhdxBuilder::kBatAt, 128},
    {VhdxBuilder::kBatAt, 64 << 10},
    {4 * kMiB, 2 * kMiB},
    {0, 16},
}};
constexpr std::uint8_t kFileSizePlace = kPlaces.size();

void patch(VhdxBuilder& disk, std::span<const std::byte> input) {
  while (input.size() >= 6) {
    const auto place =
        static_cast<std::uint8_t>(std::to_integer<unsigned>(input[0]) % (kPlaces.size() + 1));
    const std::size_t wanted = std::to_integer<unsigned>(input[1]) % 64 + 1;
    const std::uint64_t offset = load_raw<Le32>(input.data() + 1) >> 8;
    input = input.subspan(5);
    const std::span<const std::byte> bytes = input.first(std::min(wanted, input.size()));
    input = input.subspan(bytes.size());
    if (place == kFileSizePlace) {
      disk.resize(offset * 4096);  // at most 64 GiB
    } else {
      disk.put(kPlaces[place].begin + offset % kPlaces[place].length, bytes);
    }
  }
}

void seal(VhdxBuilder& disk) {
  for (const int i : {0, 1}) {
    if (disk.size() >= VhdxBuilder::kHeaderAt[i] + 4096) disk.seal_header(i);
    if (disk.size() >= VhdxBuilder::kRegionTableAt[i] + 65536) disk.seal_region_table(i);
  }
  constexpr std::uint64_t kSealed = 128 << 10;  // of the log; what patches reach and what follows
  if (disk.size() < VhdxBuilder::kLogAt + kMiB) return;
  std::size_t entries_left = 16;
  for (std::uint64_t at = kSealed; at != 0 && entries_left != 0;) {
    at -= 4096;
    const std::vector<std::byte> head = disk.get(VhdxBuilder::kLogAt + at, 16);
    const std::uint32_t length = load_raw<Le32>(head.data() + 8);
    if (load_raw<Le32>(head.data()) != kLogEntrySignature || length < 4096 || length % 4096 != 0 ||
        length > kMiB - at) {
      continue;
    }
    --entries_left;
    std::vector<std::byte> entry = disk.get(VhdxBuilder::kLogAt + at, length);
    seal_log_entry(entry);
    disk.put_log(at, std::span(entry).first(4096));
  }
}

VhdxBuilder make_small_image(std::uint8_t kind) {
  VhdxBuilder::Options options;
  options.leave_allocated = kind % 4 == 1;
  if (kind % 4 == 2) {
    options.locator = {{"parent_linkage", braced(kLogGuid)},
                       {"parent_linkage2", braced(Guid{})},
                       {"absolute_win32_path", "C:\\p.vhdx"}};
  }
  if (kind % 4 == 3) options.log_guid = kLogGuid;
  if ((kind & 4) != 0) options.logical_sector = 4096;
  VhdxBuilder disk(options);
  for (const std::uint64_t block : {0U, 3U, 6U}) disk.add_block(block, 1);
  if (kind % 4 == 2) {
    disk.add_bitmap(0);
    disk.set_bits(4 * kMiB / options.logical_sector, 4 * kMiB / options.logical_sector + 3);
    disk.add_block(4, 2, 7);
  }
  if (kind % 4 == 3) {
    disk.add_log_entry(0, {.sequence_number = 5,
                           .flushed_file_offset = disk.size(),
                           .last_file_offset = disk.size() + kMiB,
                           .descriptors = {{.file_offset = VhdxBuilder::kBatAt,
                                            .sector = disk.get(VhdxBuilder::kBatAt, 4096)}}});
  }
  return disk;
}

constexpr std::array<std::uint64_t, 10> kBytePlaces = {0,
                                                       VhdxBuilder::kHeaderAt[0],
                                                       VhdxBuilder::kHeaderAt[1],
                                                       VhdxBuilder::kRegionTableAt[0],
                                                       VhdxBuilder::kRegionTableAt[1],
                                                       VhdxBuilder::kLogAt,
                                                       VhdxBuilder::kMetadataAt,
                                                       VhdxBuilder::kMetadataAt + 65536,
                                                       VhdxBuilder::kBatAt,
                                                       4 * kMiB};

}  // namespace

VhdxBuilder unpatched_image(std::span<const std::byte> input) {
  return make_image(static_cast<Kind>(std::to_integer<unsigned>(input[0]) % kKinds));
}

VhdxBuilder patched_image(std::span<const std::byte> input) {
  VhdxBuilder disk = unpatched_image(input);
  patch(disk, input.subspan(2));
  if ((std::to_integer<unsigned>(input[1]) & kKeepChecksums) == 0) seal(disk);
  return disk;
}

VhdxBuilder parent_of_patched_image() {
  return make_parent();
}

VhdxBuilder byte_patched_image(std::span<const std::byte> input) {
  const auto first = std::to_integer<std::uint8_t>(input[0]);
  VhdxBuilder disk = make_small_image(first);
  for (input = input.subspan(1); input.size() >= 4; input = input.subspan(4)) {
    const std::uint64_t place =
        kBytePlaces[std::to_integer<unsigned>(input[0]) % kBytePlaces.size()];
    disk.put8(place + load_raw<Le16>(input.data() + 1), std::to_integer<std::uint8_t>(input[3]));
  }
  if ((first & 0x80) == 0) {
    for (const int i : {0, 1}) {
      disk.seal_header(i);
      disk.seal_region_table(i);
    }
  }
  return disk;
}

}  // namespace vhdxm::test
