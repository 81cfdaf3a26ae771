#include "vhdx/layer.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/expect_error.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/bat.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using test::braced;
using test::failed_with;
using test::succeeded;
using test::VhdxBuilder;

constexpr Guid kLogGuid = guid_literal("10910910-9109-1091-0910-910910910910");

Result<std::unique_ptr<Layer>> try_open(const VhdxBuilder& disk) {
  return Layer::open(disk.file(), Layer::Replay::kInMemory);
}

std::unique_ptr<Layer> open(const VhdxBuilder& disk) {
  auto layer = try_open(disk);
  EXPECT_TRUE(succeeded(layer));
  return std::move(*layer);
}

VhdxBuilder::Options differencing(std::uint64_t virtual_size = 8 * kMiB) {
  return {.virtual_size = virtual_size,
          .locator = {{{"parent_linkage", braced(Guid::random())}, {"relative_path", "p"}}}};
}

std::string text_of(const std::vector<Extent>& extents) {
  std::string text;
  for (const Extent& extent : extents) {
    constexpr const char* kNames[] = {"", "data", "zero", "unmapped", "parent"};
    text += std::string(kNames[static_cast<std::size_t>(extent.kind)]) + " " +
            std::to_string(extent.virtual_offset) + "+" + std::to_string(extent.length);
    if (extent.kind == ExtentKind::kData) text += " @" + std::to_string(extent.file_offset);
    text += "\n";
  }
  return text;
}

std::string map_of(Layer& layer, std::uint64_t offset, std::uint64_t length) {
  std::vector<Extent> extents;
  const auto end = layer.map(offset, length, extents);
  EXPECT_TRUE(succeeded(end));
  return text_of(extents);
}

TEST(Layer, EveryStateOfADiskWithoutAParent) {
  for (const bool fixed : {false, true}) {
    VhdxBuilder disk({.virtual_size = 7 * kMiB, .leave_allocated = fixed});
    const std::uint64_t place = disk.add_block(0, 1);
    for (std::uint64_t block = 1; block < 5; ++block) disk.set_block(block, block - 1);
    disk.set_block(5, 5);
    const auto layer = open(disk);
    // NOT_PRESENT, UNDEFINED, then ZERO, then UNMAPPED and its draft value.
    EXPECT_EQ(map_of(*layer, 0, 7 * kMiB), "data 0+1048576 @" + std::to_string(place) +
                                               "\n"
                                               "unmapped 1048576+2097152\n"
                                               "zero 3145728+1048576\n"
                                               "unmapped 4194304+3145728\n");
    EXPECT_TRUE(succeeded(layer->validate_bat()));
  }
}

TEST(Layer, OnlyNotPresentShowsTheParent) {
  VhdxBuilder disk(differencing(6 * kMiB));
  const std::uint64_t place = disk.add_block(0, 1);
  for (std::uint64_t block = 1; block < 5; ++block) disk.set_block(block, block - 1);
  disk.set_block(5, 5);
  const auto layer = open(disk);
  EXPECT_EQ(map_of(*layer, 0, 6 * kMiB), "data 0+1048576 @" + std::to_string(place) +
                                             "\n"
                                             "parent 1048576+1048576\n"
                                             "unmapped 2097152+1048576\n"
                                             "zero 3145728+1048576\n"
                                             "unmapped 4194304+2097152\n");
}

TEST(Layer, APartialBlockIsMappedByItsBitmap) {
  VhdxBuilder disk(differencing());
  disk.add_bitmap(0);
  const std::uint64_t place = disk.add_block(2, 1, 7);
  // Block 2 is sectors 4096-6143.
  disk.set_bits(4096, 4097);
  disk.set_bits(4104, 6144);
  const auto layer = open(disk);
  const std::string first = "data 2097152+512 @" + std::to_string(place) + "\n";
  const std::string gap = "parent 2097664+3584\n";
  const std::string rest = "data 2101248+1044480 @" + std::to_string(place + 4096) + "\n";
  EXPECT_EQ(map_of(*layer, 2 * kMiB, kMiB), first + gap + rest);
  EXPECT_EQ(map_of(*layer, 0, 8 * kMiB),
            "parent 0+2097152\n" + first + gap + rest + "parent 3145728+5242880\n");
  EXPECT_EQ(map_of(*layer, 2 * kMiB + 1024, 4096),
            "parent 2098176+3072\ndata 2101248+1024 @" + std::to_string(place + 4096) + "\n");
}

TEST(Layer, RunsDoNotLeaveTheirBlock) {
  // Bits of the neighbouring blocks are set, but those are not partial.
  VhdxBuilder disk(differencing());
  disk.add_bitmap(0);
  const std::uint64_t place = disk.add_block(1, 1, 7);
  disk.set_bits(0, 3 * 2048);
  const auto layer = open(disk);
  EXPECT_EQ(map_of(*layer, 0, 3 * kMiB), "parent 0+1048576\ndata 1048576+1048576 @" +
                                             std::to_string(place) + "\nparent 2097152+1048576\n");
}

TEST(Layer, BitsBeyondTheEndOfTheDiskMeanNothing) {
  VhdxBuilder disk(differencing(kMiB + 1024));
  const std::uint64_t bitmap = disk.add_bitmap(0);
  disk.fill(bitmap, kMiB, 0xff);
  const std::uint64_t place = disk.add_block(1, 1, 7);
  const auto layer = open(disk);
  EXPECT_EQ(map_of(*layer, 0, 100 * kMiB),
            "parent 0+1048576\ndata 1048576+1024 @" + std::to_string(place) + "\n");
}

TEST(Layer, FullyPresentBlocksDoNotConsultTheBitmap) {
  VhdxBuilder disk(differencing());
  disk.add_bitmap(0);  // all zero
  const std::uint64_t place = disk.add_block(0, 1, 6);
  EXPECT_EQ(map_of(*open(disk), 0, kMiB), "data 0+1048576 @" + std::to_string(place) + "\n");
}

TEST(Layer, APartialBlockWithoutItsBitmapIsRefused) {
  VhdxBuilder disk(differencing());
  disk.add_block(3, 1, 7);
  const auto layer = open(disk);
  std::vector<Extent> extents;
  EXPECT_TRUE(failed_with(layer->map(3 * kMiB, kMiB, extents), Errc::kMissingSectorBitmap,
                          "test.vhdx: a partially present block has no sector bitmap"));
  EXPECT_TRUE(failed_with(layer->validate_bat(), Errc::kMissingSectorBitmap, "at byte 3145752"));
  EXPECT_TRUE(succeeded(layer->map(0, kMiB, extents)));
}

TEST(Layer, SectorsOf4KiBAreCountedInTheBitmap) {
  VhdxBuilder::Options options = differencing(1536 * kMiB);
  options.logical_sector = 4096;
  VhdxBuilder disk(options);
  disk.add_bitmap(0);
  const std::uint64_t place = disk.add_block(1100, 1, 7);
  disk.set_bits(1100 * 256 + 3, 1100 * 256 + 5);
  EXPECT_EQ(map_of(*open(disk), 1100 * kMiB, kMiB),
            "parent " + std::to_string(1100 * kMiB) + "+12288\ndata " +
                std::to_string(1100 * kMiB + 12288) + "+8192 @" + std::to_string(place + 12288) +
                "\nparent " + std::to_string(1100 * kMiB + 20480) + "+1028096\n");
}

TEST(Layer, LaterChunksHaveTheirOwnBitmap) {
  // 256 MiB blocks: a chunk is 4 GiB.
  VhdxBuilder::Options options = differencing(12 * kGiB);
  options.block_bytes = 256 << 20;
  VhdxBuilder disk(options);
  const std::uint64_t place = disk.add_block(33, 0, 7);
  disk.add_bitmap(2);
  disk.set_bits((8 * kGiB + 256 * kMiB) / 512, (8 * kGiB + 256 * kMiB) / 512 + 1);
  EXPECT_EQ(map_of(*open(disk), 8 * kGiB + 256 * kMiB, 1024),
            "data " + std::to_string(8 * kGiB + 256 * kMiB) + "+512 @" + std::to_string(place) +
                "\nparent " + std::to_string(8 * kGiB + 256 * kMiB + 512) + "+512\n");
}

TEST(Layer, NeighboursInTheFileAreJoined) {
  VhdxBuilder disk;
  const std::uint64_t place = disk.add_block(0, 1);
  disk.add_block(1, 1);
  disk.add_block(3, 1);
  disk.add_block(2, 1);
  EXPECT_EQ(map_of(*open(disk), 512, 4 * kMiB - 512),
            "data 512+2096640 @" + std::to_string(place + 512) + "\ndata 2097152+1048576 @" +
                std::to_string(place + 3 * kMiB) + "\ndata 3145728+1048576 @" +
                std::to_string(place + 2 * kMiB) + "\n");
}

TEST(Layer, AMapStopsAtItsLimitAndGoesOnThere) {
  VhdxBuilder disk(differencing());
  disk.add_bitmap(0);
  disk.add_block(0, 1, 7);
  for (std::uint64_t sector = 0; sector < 2048; sector += 2) disk.set_bits(sector, sector + 1);
  const auto layer = open(disk);
  std::vector<Extent> all;
  ASSERT_TRUE(succeeded(layer->map(0, 8 * kMiB, all)));
  EXPECT_EQ(all.size(), 2048U);  // the last sector's extent goes on to the end of the disk
  for (const std::size_t extents_max : {1U, 2U, 7U, 100U}) {
    std::vector<Extent> pieces;
    for (std::uint64_t at = 0; at < 8 * kMiB;) {
      const std::size_t before = pieces.size();
      const auto end = layer->map(at, 8 * kMiB - at, pieces, extents_max);
      ASSERT_TRUE(succeeded(end));
      ASSERT_GT(*end, at);
      EXPECT_LE(pieces.size() - before, extents_max);
      at = *end;
    }
    EXPECT_EQ(text_of(pieces), text_of(all));
  }
}

TEST(Layer, TheReplayedLogIsWhatIsMapped) {
  VhdxBuilder disk({.log_guid = kLogGuid});
  const std::uint64_t place = disk.add_block(0, 1);
  std::vector<std::byte> bat = disk.get(VhdxBuilder::kBatAt, 4096);
  disk.set_block(0, 2);
  disk.add_log_entry(0, {.descriptors = {{.file_offset = VhdxBuilder::kBatAt, .sector = bat}}});
  const auto layer = open(disk);
  EXPECT_EQ(layer->replayed_entries(), 1U);
  EXPECT_EQ(map_of(*layer, 0, kMiB), "data 0+1048576 @" + std::to_string(place) + "\n");
  EXPECT_NE(&layer->file(), disk.file().get());
  std::vector<std::byte> byte(1);
  EXPECT_TRUE(succeeded(read_exact_at(layer->file(), place, byte, "test")));
  EXPECT_EQ(byte[0], std::byte{1});
}

TEST(Layer, RegionTablesAndMetadataAreReadAfterTheReplay) {
  VhdxBuilder disk({.log_guid = kLogGuid});
  const std::vector<std::byte> regions = disk.get(VhdxBuilder::kRegionTableAt[0], 4096);
  const std::vector<std::byte> table = disk.get(VhdxBuilder::kMetadataAt, 4096);
  disk.fill(VhdxBuilder::kRegionTableAt[0], 4096, 0xee);
  disk.fill(VhdxBuilder::kRegionTableAt[1], 4096, 0xee);
  disk.fill(VhdxBuilder::kMetadataAt, 4096, 0xee);
  disk.add_log_entry(
      0, {.descriptors = {{.file_offset = VhdxBuilder::kRegionTableAt[0], .sector = regions},
                          {.file_offset = VhdxBuilder::kMetadataAt, .sector = table}}});
  EXPECT_TRUE(succeeded(try_open(disk)));
}

TEST(Layer, ABlockBeyondTheFilesEndIsFineIfTheLogMakesTheFileGrow) {
  VhdxBuilder disk({.log_guid = kLogGuid});
  disk.set_block(0, 10 * kMiB | 6);
  disk.add_log_entry(0, {.last_file_offset = 11 * kMiB});
  const auto layer = open(disk);
  EXPECT_EQ(map_of(*layer, 0, kMiB), "data 0+1048576 @10485760\n");
  EXPECT_TRUE(succeeded(layer->validate_bat()));
}

TEST(Layer, TwoBlocksInOnePlaceAreFound) {
  VhdxBuilder disk;
  const std::uint64_t place = disk.add_block(0, 1);
  disk.set_block(5, place | 6);
  const auto layer = open(disk);
  EXPECT_TRUE(failed_with(layer->validate_bat(), Errc::kOverlap,
                          "another block stands there already, [MS-VHDX] 2.5.1 at byte 3145768 "
                          "(found 4194304)"));
}

TEST(Layer, BlocksThatOverlapInPartAreFound) {
  VhdxBuilder disk({.block_bytes = 2 << 20});
  const std::uint64_t place = disk.add_block(0, 1);
  disk.resize(place + 4 * kMiB);
  disk.set_block(1, (place + kMiB) | 6);
  EXPECT_TRUE(failed_with(open(disk)->validate_bat(), Errc::kOverlap));
}

TEST(Layer, ABitmapInABlockIsFound) {
  VhdxBuilder disk(differencing());
  const std::uint64_t place = disk.add_block(0, 1);
  disk.set_entry(disk.bitmap_index(0), place | 6);
  EXPECT_TRUE(failed_with(open(disk)->validate_bat(), Errc::kOverlap));
}

TEST(Layer, SoftAnchorsOfAbsentBlocksAreNoOverlap) {
  VhdxBuilder disk;
  const std::uint64_t place = disk.add_block(0, 1);
  disk.set_block(1, place | 3);
  EXPECT_TRUE(succeeded(open(disk)->validate_bat()));
}

TEST(Layer, PayloadStatesAreThoseOfTheTable) {
  VhdxBuilder disk({.virtual_size = 5000 * kMiB});
  disk.set_block(4095, 2);
  disk.set_block(4096, 5);
  disk.add_block(4999, 1);
  const auto layer = open(disk);
  std::vector<PayloadState> states(5000);
  ASSERT_TRUE(succeeded(layer->payload_states(0, states)));
  EXPECT_EQ(states[0], PayloadState::kNotPresent);
  EXPECT_EQ(states[4095], PayloadState::kZero);
  EXPECT_EQ(states[4096], PayloadState::kUnmapped);
  EXPECT_EQ(states[4999], PayloadState::kFullyPresent);
  disk.set_block(7, 4);
  EXPECT_TRUE(failed_with(open(disk)->payload_states(0, states), Errc::kBadBatEntry, "test.vhdx"));
}

TEST(Layer, TheLargestSparseDiskOpensWithoutItsBat) {
  VhdxBuilder disk({.virtual_size = 64 * kTiB});
  disk.set_block((std::uint64_t{1} << 26) - 1, 2);
  const auto layer = open(disk);
  EXPECT_EQ(layer->geometry().block_count(), std::uint64_t{1} << 26);
  EXPECT_EQ(map_of(*layer, 64 * kTiB - 2 * kMiB, 2 * kMiB),
            "unmapped " + std::to_string(64 * kTiB - 2 * kMiB) + "+1048576\nzero " +
                std::to_string(64 * kTiB - kMiB) + "+1048576\n");
}

TEST(Layer, AnEmptyDiskOpens) {
  VhdxBuilder disk({.virtual_size = 0});
  const auto layer = open(disk);
  EXPECT_EQ(layer->geometry().virtual_size_bytes, 0U);
  EXPECT_TRUE(succeeded(layer->validate_bat()));
}

TEST(Layer, ErrorsNameTheFileAndWhatIsInIt) {
  VhdxBuilder disk({.name = "vm.vhdx"});
  disk.regions.push_back({guid_literal("12345678-1234-1234-1234-123456789abc"), 2 * kMiB, 0, 1});
  disk.write_regions();
  const auto layer = try_open(disk);
  EXPECT_TRUE(failed_with(layer, Errc::kUnknownRequiredRegion,
                          "vm.vhdx, region 12345678-1234-1234-1234-123456789abc: "));
}

TEST(Layer, MapsFromSeveralThreadsAgree) {
  VhdxBuilder disk({.virtual_size = 2 * kTiB, .block_bytes = 1 << 20});
  for (std::uint64_t block = 0; block < 2 << 20; block += 4099) disk.set_block(block, 2);
  const auto layer = open(disk);
  std::vector<std::string> maps(4);
  std::vector<std::jthread> threads;
  for (std::string& map : maps) {
    threads.emplace_back([&layer, &map] { map = map_of(*layer, 0, 2 * kTiB); });
  }
  threads.clear();
  EXPECT_EQ(maps[0], maps[1]);
  EXPECT_EQ(maps[0], maps[2]);
  EXPECT_EQ(maps[0], maps[3]);
  EXPECT_GT(maps[0].size(), 10000U);
}

}  // namespace
}  // namespace vhdxm::vhdx
