// One test for each way in that docs/vhdx.md lists under "Hostile images": numbers that were made
// to overflow, to overlap, or to ask for more than there is. All checksums are good.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/bat.h"
#include "vhdx/errc.h"
#include "vhdx/image.h"
#include "vhdx/layer.h"
#include "vhdx/repair.h"

namespace vhdxm::vhdx {
namespace {

using test::braced;
using test::encode_log_entry;
using test::failed_with;
using test::LogEntrySpec;
using test::seal_log_entry;
using test::succeeded;
using test::VhdxBuilder;
using Bytes = std::vector<std::byte>;

constexpr Guid kLogGuid = guid_literal("10910910-9109-1091-0910-910910910910");
constexpr Guid kForeign = guid_literal("12345678-1234-1234-1234-123456789abc");
constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

/// Check and repair look at the same image, and must come to an end too: what a reader refuses is
/// corrupt, and no repair is found for it that does not hold.
Result<std::unique_ptr<Layer>> open(const VhdxBuilder& disk) {
  auto layer = Layer::open(disk.file(), Layer::Replay::kInMemory);
  const auto plan = plan_repair(disk.file());
  EXPECT_TRUE(succeeded(plan));
  if (plan.has_value() && layer.has_error()) {
    EXPECT_TRUE(plan->before.corrupt());
    EXPECT_TRUE(plan->obstacle) << "a repair for an image that cannot be read";
  }
  return layer;
}

/// Opens and maps everything that can be mapped in one go.
Result<std::uint64_t> open_and_map(const VhdxBuilder& disk) {
  VHDXM_TRY(const auto layer, open(disk));
  std::vector<Extent> extents;
  return layer->map(0, layer->geometry().virtual_size_bytes, extents);
}

VhdxBuilder with_item(std::size_t item, std::uint64_t value) {
  VhdxBuilder disk;
  Bytes bytes(8);
  store_raw(bytes.data(), Le64(value));
  bytes.resize(disk.items[item].content.size());
  disk.items[item].content = bytes;
  disk.write_metadata();
  return disk;
}

TEST(HostileInput, DiskSizesWhoseProductsWouldWrap) {
  for (const std::uint64_t size : {kMax, kMax - 511, std::uint64_t{1} << 63,
                                   (std::uint64_t{1} << 63) - 512, std::uint64_t{1} << 61}) {
    EXPECT_TRUE(failed_with(open(with_item(VhdxBuilder::kDiskSize, size)), Errc::kBadGeometry))
        << size;
  }
}

TEST(HostileInput, ADiskWhoseBatWouldNotFitIntoItsRegion) {
  // A legal size, 64 TiB, for which the region of 1 MiB is much too small.
  EXPECT_TRUE(failed_with(open(with_item(VhdxBuilder::kDiskSize, 64 * kTiB)), Errc::kBadRegionTable,
                          "BAT region is too small"));
}

TEST(HostileInput, BatOffsetsWhoseShiftWouldWrap) {
  VhdxBuilder disk;
  disk.set_block(0, kMax << 20 | 6);
  EXPECT_TRUE(failed_with(open_and_map(disk), Errc::kOutsideFile));
}

TEST(HostileInput, BlockSizesThatAreNone) {
  for (const std::uint32_t size : {0U, 1U, 3U << 20, 0xffffffffU, 0x80000000U, 1U << 29}) {
    EXPECT_TRUE(failed_with(open(with_item(VhdxBuilder::kFileParameters, size)), Errc::kBadGeometry,
                            "BlockSize"))
        << size;
  }
}

TEST(HostileInput, SectorSizesThatAreNone) {
  for (const std::uint32_t size : {0U, 1U, 511U, 1U << 31}) {
    EXPECT_TRUE(failed_with(open(with_item(VhdxBuilder::kLogicalSector, size)), Errc::kBadGeometry,
                            "LogicalSectorSize"))
        << size;
  }
}

TEST(HostileInput, TooManyRegions) {
  for (const std::uint32_t count : {2048U, 65535U, 0xffffffffU}) {
    VhdxBuilder disk;
    disk.write_regions(count);
    EXPECT_TRUE(failed_with(open(disk), Errc::kBadRegionTable, "EntryCount")) << count;
  }
}

TEST(HostileInput, TooManyMetadataItems) {
  for (const std::uint16_t count : {std::uint16_t{2048}, std::uint16_t{65535}}) {
    VhdxBuilder disk;
    disk.write_metadata(count);
    EXPECT_TRUE(failed_with(open(disk), Errc::kBadMetadataTable, "EntryCount")) << count;
  }
}

/// An entry changed and sealed again must not be valid: the log then holds nothing.
template <class T>
void expect_no_entry(std::size_t offset, T value) {
  VhdxBuilder disk({.log_guid = kLogGuid});
  Bytes entry = encode_log_entry({.log_guid = kLogGuid});
  store_raw(entry.data() + offset, value);
  seal_log_entry(entry);
  disk.put_log(0, entry);
  EXPECT_TRUE(failed_with(open(disk), Errc::kNoValidLogSequence));
}

TEST(HostileInput, MoreDescriptorsThanAnEntryHolds) {
  for (const std::uint32_t count : {127U, 0x7fffffffU, 0xffffffffU}) {
    expect_no_entry(24, Le32(count));
  }
}

TEST(HostileInput, EntriesLongerThanTheLog) {
  for (const std::uint32_t length : {(1U << 20) + 4096, 0xfffff000U}) {
    expect_no_entry(8, Le32(length));
  }
}

TEST(HostileInput, ZeroDescriptorsOfEightEiB) {
  VhdxBuilder disk({.log_guid = kLogGuid});
  disk.add_log_entry(
      0, {.descriptors = {{.file_offset = 4 * kMiB, .zero_length = std::uint64_t{1} << 63}}});
  EXPECT_TRUE(failed_with(open(disk), Errc::kBadLogTarget));
}

TEST(HostileInput, ALogThatMakesTheFileEightEiB) {
  VhdxBuilder disk({.log_guid = kLogGuid});
  disk.add_log_entry(0, {.last_file_offset = std::uint64_t{1} << 63});
  EXPECT_TRUE(failed_with(open(disk), Errc::kBadLogTarget, "LastFileOffset"));
}

TEST(HostileInput, TwoBlocksInOnePlace) {
  VhdxBuilder disk;
  disk.set_block(3, disk.add_block(0, 1) | 6);
  const auto layer = open(disk);
  ASSERT_TRUE(succeeded(layer));
  EXPECT_TRUE(failed_with((*layer)->validate_bat(), Errc::kOverlap));
}

TEST(HostileInput, BlocksInsideBatLogMetadataOrHeader) {
  for (const std::uint64_t place :
       {std::uint64_t{0}, VhdxBuilder::kLogAt, VhdxBuilder::kMetadataAt, VhdxBuilder::kBatAt}) {
    VhdxBuilder disk;
    disk.set_block(0, place | 6);
    EXPECT_TRUE(failed_with(open_and_map(disk), Errc::kOverlap)) << place;
  }
}

VhdxBuilder with_locator(const Bytes& item) {
  VhdxBuilder disk({.locator = {{{"parent_linkage", braced(kForeign)}}}});
  disk.items[VhdxBuilder::kLocator].content = item;
  disk.write_metadata();
  return disk;
}

TEST(HostileInput, LocatorsWithOddLengths) {
  Bytes item = test::encode_locator({{"parent_linkage", braced(kForeign)}});
  store_raw(item.data() + 20 + 10, Le16(75));
  EXPECT_TRUE(failed_with(open(with_locator(item)), Errc::kBadParentLocator, "UTF-16"));
}

TEST(HostileInput, LocatorsThatReachBeyondTheirItem) {
  for (const std::uint32_t offset : {100U, 0x7fffffffU, 0xffffffffU}) {
    Bytes item = test::encode_locator({{"parent_linkage", braced(kForeign)}});
    store_raw(item.data() + 20 + 4, Le32(offset));
    EXPECT_TRUE(failed_with(open(with_locator(item)), Errc::kBadParentLocator, "outside the item"))
        << offset;
  }
}

TEST(HostileInput, LocatorsWith65535Keys) {
  Bytes item = test::encode_locator({{"parent_linkage", braced(kForeign)}});
  store_raw(item.data() + 18, Le16(65535));
  EXPECT_TRUE(failed_with(open(with_locator(item)), Errc::kBadParentLocator, "KeyValueCount"));
}

/// Disks in a folder, each linked to the parent it names. More about parents, good and bad, is in
/// tests/vhdx/image_test.cc and tests/vhdx/parent_resolver_test.cc.
class HostileParents : public testing::Test {
 protected:
  static Guid identity(int number) {
    Guid guid = kForeign;
    guid.bytes[15] = static_cast<std::uint8_t>(number);
    return guid;
  }
  void write(const std::string& path, int own, std::optional<int> parent,
             const std::string& relative_path) {
    VhdxBuilder::Options options{.data_write_guid = identity(own)};
    if (parent) {
      options.locator = {{"parent_linkage", braced(identity(*parent))},
                         {"relative_path", relative_path}};
    }
    const VhdxBuilder disk(options);
    const Bytes bytes = disk.get(0, disk.size());
    std::ofstream out(folder_ / path, std::ios::binary);
    for (const std::byte byte : bytes) out.put(std::to_integer<char>(byte));
  }

  test::TempFolder folder_;
};

TEST_F(HostileParents, ADiskThatIsItsOwnParent) {
  write("a.vhdx", 1, 1, "a.vhdx");
  EXPECT_TRUE(failed_with(Image::open(folder_ / "a.vhdx"), Errc::kParentCycle));
}

TEST_F(HostileParents, DisksThatAreEachOthersParents) {
  write("a.vhdx", 1, 2, "b.vhdx");
  write("b.vhdx", 2, 3, "c.vhdx");
  write("c.vhdx", 3, 1, "a.vhdx");
  EXPECT_TRUE(failed_with(Image::open(folder_ / "a.vhdx"), Errc::kParentCycle));
}

TEST_F(HostileParents, PathsThatClimbInsideAreNotFollowed) {
  std::filesystem::create_directories(folder_ / "deep/er");
  write("secret.vhdx", 2, std::nullopt, "");
  for (const char* path : {"x\\..\\..\\..\\secret.vhdx", "er\\..\\..\\secret.vhdx"}) {
    write("deep/a.vhdx", 1, 2, path);
    EXPECT_TRUE(failed_with(Image::open(folder_ / "deep/a.vhdx"), Errc::kParentNotFound)) << path;
  }
}

TEST_F(HostileParents, AParentIsTakenByWhatItIsNotByItsName) {
  std::filesystem::create_directories(folder_ / "deep");
  write("secret.vhdx", 7, std::nullopt, "");
  write("deep/a.vhdx", 1, 2, "..\\secret.vhdx");
  EXPECT_TRUE(failed_with(Image::open(folder_ / "deep/a.vhdx"), Errc::kParentMismatch));
}

TEST_F(HostileParents, SymbolicLinksDoNotHideACycleNorLeadToDevices) {
  write("a.vhdx", 1, 1, "link.vhdx");
  std::filesystem::create_symlink("a.vhdx", folder_ / "link.vhdx");
  EXPECT_TRUE(failed_with(Image::open(folder_ / "a.vhdx"), Errc::kParentCycle));
  write("b.vhdx", 1, 2, "device.vhdx");
  std::filesystem::create_symlink("/dev/zero", folder_ / "device.vhdx");
  EXPECT_TRUE(failed_with(Image::open(folder_ / "b.vhdx"), Errc::kParentNotFound, "regular"));
}

TEST_F(HostileParents, ChainsWithoutEnd) {
  for (int i = 0; i < 6; ++i) {
    write(std::to_string(i) + ".vhdx", i, i + 1, std::to_string(i + 1) + ".vhdx");
  }
  write("6.vhdx", 6, std::nullopt, "");
  EXPECT_TRUE(succeeded(Image::open(folder_ / "0.vhdx")));
  EXPECT_TRUE(failed_with(Image::open(folder_ / "0.vhdx", {.depth_max = 6}), Errc::kChainTooDeep));
}

TEST(HostileInput, TheLastSequenceNumberOfAHeader) {
  VhdxBuilder disk({.log_guid = kLogGuid});
  disk.put64(VhdxBuilder::kHeaderAt[1] + VhdxBuilder::kHeaderSequence, kMax);
  disk.seal_header(1);
  disk.add_log_entry(0, {});
  EXPECT_TRUE(succeeded(open(disk)));
  const Bytes before = disk.get(0, 4 << 20);
  EXPECT_TRUE(
      failed_with(Layer::open(disk.file(), Layer::Replay::kOnFile), Errc::kSequenceExhausted));
  EXPECT_EQ(disk.get(0, 4 << 20), before);
}

TEST(HostileInput, TheLastSequenceNumberOfALog) {
  VhdxBuilder disk({.log_guid = kLogGuid});
  const std::uint64_t next = disk.add_log_entry(0, {.sequence_number = kMax});
  Bytes entry = encode_log_entry({.sequence_number = 1, .log_guid = kLogGuid});
  store_raw(entry.data() + 16, Le64(0));  // what follows kMax if one adds
  seal_log_entry(entry);
  disk.put_log(next, entry);
  const auto layer = open(disk);
  ASSERT_TRUE(succeeded(layer));
  EXPECT_EQ((*layer)->replayed_entries(), 1U);
}

TEST(HostileInput, ALogOfAlmostFourGiB) {
  VhdxBuilder disk({.log_guid = kLogGuid});
  disk.put_header32(VhdxBuilder::kHeaderLogLength, 0xfff00000);
  EXPECT_TRUE(failed_with(open(disk), Errc::kBadLogLocation));
  disk.resize(5 * kGiB);
  EXPECT_TRUE(failed_with(open(disk), Errc::kBadLogLocation, "1 GiB"));
}

TEST(HostileInput, AMetadataItemOverOneMiB) {
  VhdxBuilder disk;
  disk.items.push_back({.id = kForeign, .offset = 128 << 10, .length = 0x80000000});
  disk.write_metadata();
  EXPECT_TRUE(failed_with(open(disk), Errc::kBadMetadataTable, "1 MiB"));
}

TEST(HostileInput, ForeignMetadataLargerThanMemory) {
  // 2042 items of 1 MiB in a sparse file.
  VhdxBuilder disk;
  for (std::uint32_t i = 0; i < 2042; ++i) {
    Guid id = kForeign;
    id.bytes[0] = static_cast<std::uint8_t>(i);
    id.bytes[1] = static_cast<std::uint8_t>(i >> 8);
    disk.items.push_back({.id = id, .offset = (i + 1) << 20, .length = 1 << 20});
  }
  disk.write_metadata();
  disk.regions[0].offset = 3000 * kMiB;
  disk.regions[1].length = 2100U << 20;
  disk.write_regions();
  disk.resize(3001 * kMiB);
  EXPECT_TRUE(failed_with(open(disk), Errc::kMetadataTooLarge));
}

TEST(HostileInput, RegionsBeyondTheFile) {
  for (const std::size_t region : {std::size_t{0}, std::size_t{1}}) {
    for (const std::uint64_t offset : {4 * kMiB, std::uint64_t{1} << 62}) {
      VhdxBuilder disk;
      disk.regions[region].offset = offset;
      disk.write_regions();
      EXPECT_TRUE(failed_with(open(disk), Errc::kOutsideFile));
    }
  }
}

TEST(HostileInput, AnEmptyOrTinyFile) {
  for (const std::uint64_t size : {0U, 7U, 8U, 64U << 10, (64U << 10) + 4095}) {
    VhdxBuilder disk;
    disk.resize(size);
    EXPECT_TRUE(failed_with(open(disk), size < 8 ? Errc::kNotVhdx : Errc::kNoValidHeader)) << size;
  }
}

TEST(HostileInput, AHeaderInAFileUnderOneMiB) {
  VhdxBuilder disk;
  disk.resize(200 << 10);
  EXPECT_TRUE(failed_with(open(disk), Errc::kNoValidRegionTable, "ends before"));
  VhdxBuilder whole;  // region tables and all, but nothing behind them
  whole.resize(512 << 10);
  EXPECT_TRUE(failed_with(open(whole), Errc::kOutsideFile));
}

TEST(HostileInput, AnotherKindOfFile) {
  VhdxBuilder disk;
  disk.put8(0, 'V');
  EXPECT_TRUE(failed_with(open(disk), Errc::kNotVhdx, "test.vhdx: not a VHDX file"));
}

}  // namespace
}  // namespace vhdxm::vhdx
