#include "vhdx/description.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

Geometry geometry(std::uint64_t size, std::uint64_t block, std::uint32_t sector = 512,
                  DiskType type = DiskType::kDynamic) {
  return {.virtual_size_bytes = size,
          .block_bytes = static_cast<std::uint32_t>(block),
          .logical_sector_bytes = sector,
          .type = type};
}

TEST(Geometry, ChunkRatioIsThatOfTheSpecification) {
  EXPECT_EQ(geometry(kTiB, kMiB).chunk_ratio(), 4096U);
  EXPECT_EQ(geometry(kTiB, 2 * kMiB).chunk_ratio(), 2048U);
  EXPECT_EQ(geometry(kTiB, 32 * kMiB).chunk_ratio(), 128U);
  EXPECT_EQ(geometry(kTiB, 256 * kMiB).chunk_ratio(), 16U);
  EXPECT_EQ(geometry(kTiB, 256 * kMiB, 4096).chunk_ratio(), 128U);
  EXPECT_EQ(geometry(kTiB, kMiB, 4096).chunk_ratio(), 32768U);
}

TEST(Geometry, BitmapEntriesStandBetweenChunksInEveryType) {
  // The BAT of a 10 GiB disk with 32 MiB blocks made by Hyper-V has 322 entries.
  const Geometry dynamic = geometry(10 * kGiB, 32 * kMiB);
  EXPECT_EQ(dynamic.block_count(), 320U);
  EXPECT_EQ(dynamic.chunk_count(), 3U);
  EXPECT_EQ(dynamic.bat_entry_count(), 322U);
  EXPECT_EQ(geometry(10 * kGiB, 32 * kMiB, 512, DiskType::kFixed).bat_entry_count(), 322U);
  EXPECT_EQ(geometry(10 * kGiB, 32 * kMiB, 512, DiskType::kDifferencing).bat_entry_count(),
            3U * 129);
  EXPECT_EQ(dynamic.payload_bat_index(127), 127U);
  EXPECT_EQ(dynamic.payload_bat_index(128), 129U);
  EXPECT_EQ(dynamic.bitmap_bat_index(0), 128U);
  EXPECT_EQ(dynamic.bitmap_bat_index(1), 257U);
  EXPECT_EQ(dynamic.payload_bat_index(319), dynamic.bat_entry_count() - 1);
}

TEST(Geometry, AWholeChunkNeedsNoBitmapEntryBehindItUnlessDifferencing) {
  EXPECT_EQ(geometry(4 * kGiB, 32 * kMiB).bat_entry_count(), 128U);
  EXPECT_EQ(geometry(4 * kGiB, 32 * kMiB, 512, DiskType::kDifferencing).bat_entry_count(), 129U);
  EXPECT_EQ(geometry(4 * kGiB + 512, 32 * kMiB).bat_entry_count(), 130U);
}

TEST(Geometry, TheLargestDisk) {
  const Geometry largest = geometry(64 * kTiB, kMiB);
  EXPECT_TRUE(test::succeeded(largest.validate()));
  EXPECT_EQ(largest.block_count(), std::uint64_t{1} << 26);
  EXPECT_LT(largest.bat_entry_count(), std::uint64_t{1} << 27);
}

TEST(Geometry, AnEmptyDiskHasNoEntries) {
  for (const DiskType type : {DiskType::kFixed, DiskType::kDynamic, DiskType::kDifferencing}) {
    const Geometry empty = geometry(0, kMiB, 512, type);
    EXPECT_TRUE(test::succeeded(empty.validate()));
    EXPECT_EQ(empty.block_count(), 0U);
    EXPECT_EQ(empty.bat_entry_count(), 0U);
  }
}

TEST(Geometry, TheLastBlockMayBeBeyondTheEnd) {
  EXPECT_EQ(geometry(4 * kMiB, 32 * kMiB).block_count(), 1U);
  EXPECT_EQ(geometry(32 * kMiB + 512, 32 * kMiB).block_count(), 2U);
}

TEST(ParentLocator, LinkageIsReadInAnyCaseWithBraces) {
  ParentLocator locator;
  EXPECT_EQ(locator.linkage(), std::nullopt);
  locator.entries = {{"parent_linkage", "{83ED0EC3-24C8-49A6-A959-5E4BF1288BFB}"}};
  EXPECT_EQ(locator.linkage(), guid_literal("83ed0ec3-24c8-49a6-a959-5e4bf1288bfb"));
  EXPECT_EQ(locator.linkage2(), std::nullopt);
}

TEST(ParentLocator, KeysAreCaseSensitive) {
  const ParentLocator locator{{{"Relative_Path", "x"}, {"relative_path", "y"}}};
  EXPECT_EQ(*locator.find("relative_path"), "y");
  EXPECT_EQ(locator.find("RELATIVE_PATH"), nullptr);
}

TEST(ParentLocator, AZeroLinkage2IsAbsent) {
  ParentLocator locator{{{"parent_linkage2", "{00000000-0000-0000-0000-000000000000}"}}};
  EXPECT_EQ(locator.linkage2(), std::nullopt);
  locator.entries[0].second = "{83ed0ec3-24c8-49a6-a959-5e4bf1288bfb}";
  EXPECT_TRUE(locator.linkage2());
  locator.entries[0].second = "nonsense";
  EXPECT_EQ(locator.linkage2(), std::nullopt);
}

}  // namespace
}  // namespace vhdxm::vhdx
