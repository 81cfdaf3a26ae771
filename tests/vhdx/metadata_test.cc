#include "vhdx/metadata.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/expect_error.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using test::braced;
using test::failed_with;
using test::succeeded;
using test::VhdxBuilder;
using Bytes = std::vector<std::byte>;

constexpr Guid kForeign = guid_literal("12345678-1234-1234-1234-123456789abc");

Result<Description> read(const VhdxBuilder& disk) {
  const Region region{.guid = kMetadataRegion,
                      .file_offset = VhdxBuilder::kMetadataAt,
                      .length = kMiB,
                      .required = true};
  return read_description(*disk.file(), region);
}

Bytes bytes_of(std::uint64_t value, std::size_t length) {
  Bytes bytes(8);
  store_raw(bytes.data(), Le64(value));
  bytes.resize(length);
  return bytes;
}

TEST(Metadata, TheDiskIsDescribed) {
  VhdxBuilder disk({.virtual_size = 10 * kMiB,
                    .block_bytes = 2 << 20,
                    .logical_sector = 4096,
                    .physical_sector = 4096,
                    .leave_allocated = true});
  const auto description = read(disk);
  ASSERT_TRUE(succeeded(description));
  EXPECT_EQ(description->geometry, (Geometry{.virtual_size_bytes = 10 * kMiB,
                                             .block_bytes = 2 << 20,
                                             .logical_sector_bytes = 4096,
                                             .physical_sector_bytes = 4096,
                                             .type = DiskType::kFixed}));
  EXPECT_EQ(to_string(description->virtual_disk_id), "11111111-2222-3333-4444-555555555555");
  EXPECT_FALSE(description->parent);
  EXPECT_TRUE(description->opaque_items.empty());
}

TEST(Metadata, HasParentOverrulesLeaveBlockAllocated) {
  VhdxBuilder disk({.leave_allocated = true,
                    .locator = {{{"parent_linkage", braced(kForeign)}, {"relative_path", "p"}}}});
  const auto description = read(disk);
  ASSERT_TRUE(succeeded(description));
  EXPECT_EQ(description->geometry.type, DiskType::kDifferencing);
  ASSERT_TRUE(description->parent);
  EXPECT_EQ(description->parent->linkage(), kForeign);
}

TEST(Metadata, ALocatorOfADiskWithoutAParentIsIgnored) {
  VhdxBuilder disk;
  disk.items.push_back({.id = kParentLocatorItem, .flags = 4, .content = Bytes(3)});
  disk.write_metadata();
  const auto description = read(disk);
  ASSERT_TRUE(succeeded(description));
  EXPECT_FALSE(description->parent);
  EXPECT_TRUE(description->opaque_items.empty());
}

TEST(Metadata, EveryKnownItemIsNeeded) {
  for (std::size_t i = 0; i < 5; ++i) {
    VhdxBuilder disk;
    disk.items.erase(disk.items.begin() + static_cast<std::ptrdiff_t>(i));
    disk.write_metadata();
    EXPECT_TRUE(failed_with(read(disk), Errc::kMissingItem, "[MS-VHDX] 2.6.2."));
  }
  VhdxBuilder disk({.locator = {{{"parent_linkage", braced(kForeign)}}}});
  disk.items.pop_back();
  disk.write_metadata();
  EXPECT_TRUE(failed_with(read(disk), Errc::kMissingItem, "Parent Locator"));
}

TEST(Metadata, KnownItemsHaveTheirLength) {
  for (std::size_t i = 0; i < 5; ++i) {
    for (const int change : {-1, 1}) {
      if (i == VhdxBuilder::kPhysicalSector && change > 0) continue;
      VhdxBuilder disk;
      Bytes& content = disk.items[i].content;
      content.resize(content.size() + static_cast<std::size_t>(change));
      disk.items[i].offset = 128 << 10;
      disk.write_metadata();
      EXPECT_TRUE(failed_with(read(disk), Errc::kBadItem, "[MS-VHDX] 2.6.2.")) << i;
    }
  }
}

TEST(Metadata, PhysicalSectorSizeMayBeEightBytesAndOptional) {
  VhdxBuilder disk;  // seen in images from unknown programs
  disk.items[VhdxBuilder::kPhysicalSector].content = bytes_of(512, 8);
  disk.items[VhdxBuilder::kPhysicalSector].flags = 2;
  disk.write_metadata();
  const auto description = read(disk);
  ASSERT_TRUE(succeeded(description));
  EXPECT_EQ(description->geometry.physical_sector_bytes, 512U);
}

TEST(Metadata, AnyMixtureOfSectorSizesIsRead) {
  for (const std::uint32_t logical : {512U, 4096U}) {
    for (const std::uint32_t physical : {512U, 4096U}) {
      VhdxBuilder disk({.logical_sector = logical, .physical_sector = physical});
      EXPECT_TRUE(succeeded(read(disk))) << logical << " " << physical;
    }
  }
}

TEST(Metadata, ImpossibleGeometryIsRefused) {
  const auto with = [](std::size_t item, std::uint64_t value) {
    VhdxBuilder disk;
    disk.items[item].content = bytes_of(value, disk.items[item].content.size());
    disk.write_metadata();
    return read(disk);
  };
  for (const std::uint64_t block : {0U, 1U, 512U << 10, 3U << 20, 512U << 20, 0x80000000U}) {
    EXPECT_TRUE(
        failed_with(with(VhdxBuilder::kFileParameters, block), Errc::kBadGeometry, "BlockSize"));
  }
  for (const std::uint64_t sector : {0U, 1U, 1024U, 0xffffffffU}) {
    EXPECT_TRUE(failed_with(with(VhdxBuilder::kLogicalSector, sector), Errc::kBadGeometry,
                            "LogicalSectorSize"));
    EXPECT_TRUE(failed_with(with(VhdxBuilder::kPhysicalSector, sector), Errc::kBadGeometry,
                            "PhysicalSectorSize"));
  }
  EXPECT_TRUE(failed_with(with(VhdxBuilder::kDiskSize, kMiB + 1), Errc::kBadGeometry, "multiple"));
  EXPECT_TRUE(
      failed_with(with(VhdxBuilder::kDiskSize, 64 * kTiB + 512), Errc::kBadGeometry, "64 TiB"));
  // Items stand behind each other from 2 MiB + 64 KiB on: 8, 8, 16, 4 and 4 bytes.
  EXPECT_TRUE(failed_with(with(VhdxBuilder::kDiskSize, 1), Errc::kBadGeometry,
                          "at byte 2162696 (found 1)"));
  EXPECT_TRUE(failed_with(with(VhdxBuilder::kPhysicalSector, 1), Errc::kBadGeometry,
                          "at byte 2162724 (found 1)"));
  EXPECT_TRUE(succeeded(with(VhdxBuilder::kDiskSize, 64 * kTiB)));
  EXPECT_TRUE(succeeded(with(VhdxBuilder::kDiskSize, 0)));
}

TEST(Metadata, ForeignItemsAreCarriedAlong) {
  VhdxBuilder disk;
  disk.items.push_back({.id = kForeign, .flags = kMetadataIsUser, .content = Bytes(100)});
  disk.items.push_back({.id = kForeign, .flags = kMetadataIsVirtualDisk, .content = {}});
  // A user's item is no system item, whatever its name.
  disk.items.push_back({.id = kVirtualDiskSizeItem, .flags = kMetadataIsUser, .content = Bytes(5)});
  disk.write_metadata();
  const auto description = read(disk);
  ASSERT_TRUE(succeeded(description));
  ASSERT_EQ(description->opaque_items.size(), 3U);
  EXPECT_EQ(description->opaque_items[0],
            (OpaqueItem{.item_id = kForeign, .flags = kMetadataIsUser, .content = Bytes(100)}));
  EXPECT_EQ(description->opaque_items[1].flags, kMetadataIsVirtualDisk);
  EXPECT_TRUE(description->opaque_items[1].content.empty());
  EXPECT_EQ(description->opaque_items[2].content.size(), 5U);
}

TEST(Metadata, UnknownRequiredItemsAreRefused) {
  VhdxBuilder disk;
  disk.items.push_back({.id = kForeign, .flags = kMetadataIsRequired, .content = Bytes(8)});
  disk.write_metadata();
  EXPECT_TRUE(failed_with(read(disk), Errc::kUnknownRequiredItem, to_string(kForeign)));
  disk.items.back().flags |= kMetadataIsUser;
  disk.write_metadata();
  EXPECT_TRUE(failed_with(read(disk), Errc::kUnknownRequiredItem));
}

TEST(Metadata, AnUnfinishedFileIsRefused) {
  VhdxBuilder disk;
  disk.items.push_back({.id = kIncompleteFileItem, .flags = 0, .content = Bytes(8)});
  disk.write_metadata();
  EXPECT_TRUE(failed_with(read(disk), Errc::kIncompleteFile));
}

TEST(Metadata, ForeignItemsAreBounded) {
  VhdxBuilder disk({.virtual_size = kMiB});
  Region region{.guid = kMetadataRegion, .file_offset = VhdxBuilder::kMetadataAt, .length = kMiB};
  // 17 items of 1 MiB behind the 64 KiB table; the items themselves are a hole.
  for (std::uint32_t i = 0; i < 17; ++i) {
    Guid id = kForeign;
    id.bytes[0] = static_cast<std::uint8_t>(i);
    disk.items.push_back(
        {.id = id, .offset = (1 + i) << 20, .flags = kMetadataIsUser, .length = 1 << 20});
  }
  disk.write_metadata();
  disk.resize(64 * kMiB);
  region.length = 32 * kMiB;
  EXPECT_TRUE(failed_with(read_description(*disk.file(), region), Errc::kMetadataTooLarge,
                          "expected 16777216"));
}

TEST(Metadata, MisplacedItemsAreRefused) {
  const auto with = [](std::uint32_t offset, std::uint32_t length) {
    VhdxBuilder disk;
    disk.items.push_back({.id = kForeign, .offset = offset, .flags = 0, .length = length});
    disk.write_metadata();
    return read(disk);
  };
  EXPECT_TRUE(succeeded(with(128 << 10, 8)));
  EXPECT_TRUE(succeeded(with(0, 0)));
  EXPECT_TRUE(succeeded(with((1 << 20) - 8, 8)));
  EXPECT_TRUE(failed_with(with(4, 0), Errc::kBadMetadataTable, "empty item"));
  EXPECT_TRUE(failed_with(with((64 << 10) - 8, 8), Errc::kBadMetadataTable, "at least 64 KiB"));
  EXPECT_TRUE(failed_with(with((1 << 20) - 8, 9), Errc::kBadMetadataTable, "inside"));
  EXPECT_TRUE(failed_with(with(0xffffffff, 0xffff), Errc::kBadMetadataTable, "inside"));
  EXPECT_TRUE(failed_with(with(128 << 10, (1 << 20) + 1), Errc::kBadMetadataTable, "1 MiB"));
  // The first known item stands at 64 KiB, 8 bytes long.
  EXPECT_TRUE(failed_with(with((64 << 10) + 7, 1), Errc::kBadMetadataTable, "overlaps"));
}

TEST(Metadata, RepeatedItemsAreRefused) {
  VhdxBuilder disk;
  disk.items.push_back({.id = kForeign, .flags = 0, .content = Bytes(8)});
  disk.items.push_back({.id = kForeign, .flags = 2, .content = Bytes(8)});
  disk.write_metadata();
  EXPECT_TRUE(failed_with(read(disk), Errc::kBadMetadataTable, "twice"));
}

TEST(Metadata, TheTableIsBounded) {
  VhdxBuilder disk;
  disk.put8(VhdxBuilder::kMetadataAt, 'M');
  EXPECT_TRUE(failed_with(read(disk), Errc::kBadMetadataTable, "Signature"));
  disk.write_metadata(2048);
  EXPECT_TRUE(failed_with(read(disk), Errc::kBadMetadataTable, "2047"));
  disk.write_metadata(65535);
  EXPECT_TRUE(failed_with(read(disk), Errc::kBadMetadataTable, "2047"));
}

TEST(Metadata, AThousandAndTwentyFourUserItemsAreAllowed) {
  VhdxBuilder disk;
  for (std::uint32_t i = 0; i < 1024; ++i) {
    Guid id = kForeign;
    id.bytes[0] = static_cast<std::uint8_t>(i);
    id.bytes[1] = static_cast<std::uint8_t>(i >> 8);
    disk.items.push_back({.id = id, .flags = kMetadataIsUser, .content = Bytes(1)});
  }
  disk.write_metadata();
  EXPECT_TRUE(succeeded(read(disk)));
  disk.items.push_back({.id = kForeign, .flags = kMetadataIsUser, .content = Bytes(1)});
  disk.items.back().id.bytes[2] = 0;
  disk.write_metadata();
  EXPECT_TRUE(failed_with(read(disk), Errc::kBadMetadataTable, "1024"));
}

TEST(Metadata, ARegionSmallerThanItsTableIsRefused) {
  VhdxBuilder disk;
  const Region region{.guid = kMetadataRegion, .file_offset = VhdxBuilder::kMetadataAt};
  EXPECT_TRUE(failed_with(read_description(*disk.file(), region), Errc::kBadMetadataTable));
}

}  // namespace
}  // namespace vhdxm::vhdx
