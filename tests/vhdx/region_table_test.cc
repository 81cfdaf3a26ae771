#include "vhdx/region_table.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using test::failed_with;
using test::succeeded;
using test::VhdxBuilder;

constexpr Guid kForeign = guid_literal("12345678-1234-1234-1234-123456789abc");

Result<RegionTable> read(const VhdxBuilder& disk) {
  const auto header = select_header(*disk.file());
  EXPECT_TRUE(succeeded(header));
  return read_region_table(*disk.file(), *header);
}

TEST(RegionTable, BothKnownRegionsAreFound) {
  VhdxBuilder disk;
  const auto table = read(disk);
  ASSERT_TRUE(succeeded(table));
  EXPECT_EQ(table->bat().file_offset, VhdxBuilder::kBatAt);
  EXPECT_EQ(table->metadata().file_offset, VhdxBuilder::kMetadataAt);
  EXPECT_TRUE(table->bat().required);
}

TEST(RegionTable, RequiredIsNotInsistedOn) {
  VhdxBuilder disk;  // QEMU writes 0
  for (auto& region : disk.regions) region.required = 0;
  disk.write_regions();
  EXPECT_TRUE(succeeded(read(disk)));
}

TEST(RegionTable, TheSecondCopyServesWhereTheFirstIsDamaged) {
  VhdxBuilder disk;
  disk.fill(VhdxBuilder::kRegionTableAt[0], 64 << 10, 0);
  EXPECT_TRUE(succeeded(read(disk)));
  disk.put8(VhdxBuilder::kRegionTableAt[1] + 65535, 1);
  EXPECT_TRUE(failed_with(read(disk), Errc::kNoValidRegionTable, "at byte 196608"));
}

TEST(RegionTable, TheSecondCopyDoesNotOverruleAWholeFirst) {
  VhdxBuilder disk;
  disk.put64(VhdxBuilder::kRegionTableAt[0] + 16 + 16, 4096);
  disk.seal_region_table(0);
  EXPECT_TRUE(failed_with(read(disk), Errc::kBadRegionTable, "multiple of 1 MiB"));
}

TEST(RegionTable, UnknownRegionsAreKeptUnlessRequired) {
  VhdxBuilder disk;
  disk.regions.push_back({kForeign, disk.allocate(kMiB), kMiB, 0});
  disk.write_regions();
  const auto table = read(disk);
  ASSERT_TRUE(succeeded(table));
  EXPECT_EQ(table->entries.size(), 3U);
  disk.regions.back().required = 1;
  disk.write_regions();
  EXPECT_TRUE(failed_with(read(disk), Errc::kUnknownRequiredRegion, to_string(kForeign)));
}

TEST(RegionTable, AMissingRegionIsNamed) {
  VhdxBuilder disk;
  disk.regions.pop_back();
  disk.write_regions();
  EXPECT_TRUE(failed_with(read(disk), Errc::kMissingRegion, "metadata region"));
  disk.regions.clear();
  disk.write_regions();
  EXPECT_TRUE(failed_with(read(disk), Errc::kMissingRegion, "BAT region"));
}

TEST(RegionTable, MisplacedRegionsAreRefused) {
  const auto with = [](std::uint64_t offset, std::uint32_t length) {
    VhdxBuilder disk;
    disk.regions[0].offset = offset;
    disk.regions[0].length = length;
    disk.write_regions();
    return read(disk);
  };
  EXPECT_TRUE(failed_with(with(3 * kMiB + 1, kMiB), Errc::kBadRegionTable, "at byte 196640"));
  EXPECT_TRUE(failed_with(with(0, kMiB), Errc::kBadRegionTable, "header section"));
  EXPECT_TRUE(failed_with(with(3 * kMiB, kMiB + 1), Errc::kBadRegionTable, "region Length"));
  EXPECT_TRUE(failed_with(with(0 - kMiB, kMiB), Errc::kBadRegionTable, "exceeds 2^64"));
  EXPECT_TRUE(failed_with(with(3 * kMiB, 2 * kMiB), Errc::kOutsideFile, "expected 4194304"));
  EXPECT_TRUE(failed_with(with(2 * kMiB, kMiB), Errc::kOverlap, "at byte 2097152"));
  EXPECT_TRUE(failed_with(with(kMiB, kMiB), Errc::kOverlap, "at byte 1048576"));  // the log's
}

TEST(RegionTable, RepeatedGuidsAreRefused) {
  VhdxBuilder disk;
  disk.regions.push_back({disk.regions[0].guid, disk.allocate(kMiB), kMiB, 1});
  disk.write_regions();
  EXPECT_TRUE(failed_with(read(disk), Errc::kBadRegionTable, "twice"));
}

TEST(RegionTable, AsManyEntriesAsFitAreRead) {
  VhdxBuilder disk;
  for (std::size_t i = 2; i < 2047; ++i) {
    Guid guid = kForeign;
    guid.bytes[0] = static_cast<std::uint8_t>(i);
    guid.bytes[1] = static_cast<std::uint8_t>(i >> 8);
    disk.regions.push_back({guid, kMiB, 0, 0});
  }
  disk.write_regions();
  const auto table = read(disk);
  ASSERT_TRUE(succeeded(table));
  EXPECT_EQ(table->entries.size(), 2047U);
  disk.write_regions(2048);
  EXPECT_TRUE(failed_with(read(disk), Errc::kBadRegionTable, "EntryCount"));
}

}  // namespace
}  // namespace vhdxm::vhdx
