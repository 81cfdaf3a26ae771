#include "vhdx/bat.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/errc.h"
#include "vhdx/metadata.h"

namespace vhdxm::vhdx {
namespace {

using test::braced;
using test::failed_with;
using test::succeeded;
using test::VhdxBuilder;

/// A Bat and what it refers to.
struct OpenBat {
  Header header;
  RegionTable regions;
  Geometry geometry;
  std::unique_ptr<Bat> bat;
};

OpenBat open(const VhdxBuilder& disk) {
  OpenBat result;
  result.header = *select_header(*disk.file());
  result.regions = *read_region_table(*disk.file(), result.header);
  result.geometry = read_description(*disk.file(), result.regions.metadata())->geometry;
  auto bat = Bat::open(*disk.file(), result.header, result.regions, result.geometry);
  EXPECT_TRUE(succeeded(bat));
  result.bat = std::move(*bat);
  return result;
}

Result<PayloadEntry> entry_of(const VhdxBuilder& disk, std::uint64_t block = 0) {
  const OpenBat opened = open(disk);
  PayloadEntry entry;
  VHDXM_TRY_VOID(opened.bat->payload(block, std::span(&entry, 1)));
  return entry;
}

VhdxBuilder::Options differencing() {
  return {.locator = {{{"parent_linkage", braced(Guid::random())}, {"relative_path", "p"}}}};
}

TEST(Bat, PresentBlocksHaveTheirPlace) {
  VhdxBuilder disk;
  const std::uint64_t place = disk.add_block(0, 1);
  const auto entry = entry_of(disk);
  ASSERT_TRUE(succeeded(entry));
  EXPECT_EQ(entry->state, PayloadState::kFullyPresent);
  EXPECT_EQ(entry->file_offset, place);
}

TEST(Bat, AbsentBlocksHaveNoPlaceWhateverStandsThere) {
  const std::pair<std::uint64_t, PayloadState> states[] = {{0, PayloadState::kNotPresent},
                                                           {1, PayloadState::kUndefined},
                                                           {2, PayloadState::kZero},
                                                           {3, PayloadState::kUnmapped},
                                                           {5, PayloadState::kUnmapped}};
  for (const auto& [raw, state] : states) {
    for (const std::uint64_t garbage : {std::uint64_t{0}, std::uint64_t{0xfffffffffffffff8}}) {
      VhdxBuilder disk;
      disk.set_block(0, garbage | raw);
      const auto entry = entry_of(disk);
      ASSERT_TRUE(succeeded(entry)) << raw;
      EXPECT_EQ(entry->state, state);
      EXPECT_EQ(entry->file_offset, 0U);
    }
  }
}

TEST(Bat, ReservedStatesAndBitsAreRefused) {
  VhdxBuilder disk;
  disk.set_block(0, 4);
  EXPECT_TRUE(failed_with(entry_of(disk), Errc::kBadBatEntry, "state 4 is reserved"));
  disk.set_block(0, 7);
  EXPECT_TRUE(failed_with(entry_of(disk), Errc::kBadBatEntry, "without a parent"));
  const std::uint64_t place = disk.add_block(3, 1);
  disk.set_block(3, place | 6 | 8);
  EXPECT_TRUE(failed_with(entry_of(disk, 3), Errc::kBadBatEntry, "bits 3-19"));
  disk.set_block(3, place | 6 | 0x80000);
  EXPECT_TRUE(failed_with(entry_of(disk, 3), Errc::kBadBatEntry, "at byte 3145752"));
}

TEST(Bat, BlocksMustLieInsideTheFile) {
  VhdxBuilder disk;
  const std::uint64_t place = disk.add_block(0, 1);
  disk.resize(place + kMiB - 1);
  EXPECT_TRUE(failed_with(entry_of(disk), Errc::kOutsideFile));
  for (const std::uint64_t far : {place + kMiB, std::uint64_t{1} << 62, 0 - kMiB}) {
    disk.set_block(0, far | 6);
    EXPECT_TRUE(failed_with(entry_of(disk), Errc::kOutsideFile)) << far;
  }
}

TEST(Bat, TheFileMayEndWhereTheDiskEndsInsideItsLastBlock) {
  // A fixed disk of QEMU's: 3 MiB and a half in blocks of 2 MiB.
  VhdxBuilder disk({.virtual_size = 7 * kMiB / 2, .block_bytes = 2 << 20, .leave_allocated = true});
  disk.add_block(0, 1);
  const std::uint64_t place = disk.add_block(1, 1);
  disk.resize(place + 3 * kMiB / 2);
  EXPECT_TRUE(succeeded(entry_of(disk, 1)));
  disk.resize(place + 3 * kMiB / 2 - 1);
  EXPECT_TRUE(failed_with(entry_of(disk, 1), Errc::kOutsideFile));
}

TEST(Bat, BlocksMayNotLieInHeaderLogOrRegions) {
  const auto at = [](std::uint64_t place, std::uint32_t block_bytes = 1 << 20) {
    VhdxBuilder disk({.block_bytes = block_bytes});
    disk.resize(100 * kMiB);
    disk.regions.push_back(
        {guid_literal("12345678-1234-1234-1234-123456789abc"), 50 * kMiB, kMiB, 0});
    disk.write_regions();
    disk.set_block(0, place | 6);
    return entry_of(disk);
  };
  EXPECT_TRUE(failed_with(at(0), Errc::kOverlap, "header section"));
  EXPECT_TRUE(failed_with(at(VhdxBuilder::kLogAt), Errc::kOverlap, "log or in a region"));
  EXPECT_TRUE(failed_with(at(VhdxBuilder::kMetadataAt), Errc::kOverlap));
  EXPECT_TRUE(failed_with(at(VhdxBuilder::kBatAt), Errc::kOverlap));
  EXPECT_TRUE(failed_with(at(50 * kMiB), Errc::kOverlap));
  EXPECT_TRUE(failed_with(at(49 * kMiB, 2 << 20), Errc::kOverlap));
  EXPECT_TRUE(succeeded(at(48 * kMiB, 2 << 20)));
  EXPECT_TRUE(succeeded(at(51 * kMiB, 2 << 20)));
}

TEST(Bat, TheRegionMustHoldTheDisksEntries) {
  VhdxBuilder disk({.virtual_size = 256 * kGiB});  // 262143 + 63 entries: more than 2 MiB
  disk.regions[0].length -= 1 << 20;
  disk.write_regions();
  const Header header = *select_header(*disk.file());
  const RegionTable regions = *read_region_table(*disk.file(), header);
  const Geometry geometry = read_description(*disk.file(), regions.metadata())->geometry;
  EXPECT_TRUE(failed_with(Bat::open(*disk.file(), header, regions, geometry), Errc::kBadRegionTable,
                          "too small"));
}

TEST(Bat, ARegionLargerThanNeededIsFine) {
  VhdxBuilder disk;
  disk.regions[0].length = 16 << 20;
  disk.write_regions();
  disk.resize(VhdxBuilder::kBatAt + 16 * kMiB);
  disk.put64(disk.bat_entry_at(disk.bat_entries()), 0xffffffffffffffff);  // nobody's entry
  EXPECT_TRUE(succeeded(entry_of(disk, 7)));
}

TEST(Bat, EntriesOfSeveralChunksSkipTheBitmapEntries) {
  // Blocks of 256 MiB: 16 to a chunk.
  VhdxBuilder disk({.virtual_size = 50 * 256 * kMiB, .block_bytes = 256 << 20});
  for (std::uint64_t block = 0; block < 50; ++block) disk.set_block(block, block % 3 + 1);
  for (std::uint64_t chunk = 0; chunk < 3; ++chunk) {
    // Some programs set these in disks without a parent: nobody looks.
    disk.set_entry(disk.bitmap_index(chunk), 0xffffffffffffffff);
  }
  const OpenBat opened = open(disk);
  std::vector<PayloadEntry> entries(50);
  ASSERT_TRUE(succeeded(opened.bat->payload(0, entries)));
  for (std::size_t block = 0; block < 50; ++block) {
    EXPECT_EQ(static_cast<std::size_t>(entries[block].state), block % 3 + 1) << block;
  }
  ASSERT_TRUE(succeeded(opened.bat->payload(15, std::span(entries).first(2))));
  EXPECT_EQ(static_cast<std::size_t>(entries[1].state), 16U % 3 + 1);
}

TEST(Bat, SectorBitmapsOfDifferencingDisks) {
  VhdxBuilder disk(differencing());
  EXPECT_EQ(open(disk).bat->sector_bitmap(0).value(), std::nullopt);
  const std::uint64_t place = disk.add_bitmap(0);
  EXPECT_EQ(open(disk).bat->sector_bitmap(0).value(), place);
  for (const std::uint64_t state : {1U, 2U, 3U, 4U, 5U, 7U}) {
    disk.set_entry(disk.bitmap_index(0), place | state);
    EXPECT_TRUE(failed_with(open(disk).bat->sector_bitmap(0), Errc::kBadBatEntry, "0 and 6"));
  }
  disk.set_entry(disk.bitmap_index(0), place | 6 | 8);
  EXPECT_TRUE(failed_with(open(disk).bat->sector_bitmap(0), Errc::kBadBatEntry, "bits 3-19"));
  disk.set_entry(disk.bitmap_index(0), VhdxBuilder::kBatAt | 6);
  EXPECT_TRUE(failed_with(open(disk).bat->sector_bitmap(0), Errc::kOverlap));
  disk.set_entry(disk.bitmap_index(0), (place + kMiB) | 6);
  EXPECT_TRUE(failed_with(open(disk).bat->sector_bitmap(0), Errc::kOutsideFile));
}

/// Counts what is read.
class CountingFile final : public File {
 public:
  explicit CountingFile(std::shared_ptr<File> file) : file_(std::move(file)) {}
  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override {
    bytes_read += out.size();
    return file_->read_some_at(offset, out);
  }
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    return file_->write_at(offset, bytes);
  }
  Result<void> sync() override { return file_->sync(); }
  Result<std::uint64_t> size() override { return file_->size(); }
  Result<void> resize(std::uint64_t size_bytes) override { return file_->resize(size_bytes); }
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) override {
    return file_->allocate(offset, length);
  }
  Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) override {
    return file_->punch_hole(offset, length);
  }
  Result<DataRun> next_data(std::uint64_t offset) override { return file_->next_data(offset); }
  const std::string& name() const override { return file_->name(); }

  std::uint64_t bytes_read = 0;

 private:
  const std::shared_ptr<File> file_;
};

TEST(Bat, IsReadPageByPageAndFewPagesAreKept) {
  VhdxBuilder disk({.virtual_size = 64 * kTiB, .block_bytes = 1 << 20});
  const Header header = *select_header(*disk.file());
  const RegionTable regions = *read_region_table(*disk.file(), header);
  const Geometry geometry = read_description(*disk.file(), regions.metadata())->geometry;
  CountingFile file(disk.file());
  const auto bat = *Bat::open(file, header, regions, geometry);
  EXPECT_EQ(file.bytes_read, 0U);
  constexpr std::uint64_t kPageBytes = Bat::kPageEntries * 8;
  PayloadEntry entry;
  const auto touch = [&](std::uint64_t page) {
    const std::uint64_t index = page * Bat::kPageEntries;
    const std::uint64_t block = index - index / (geometry.chunk_ratio() + 1);
    ASSERT_TRUE(succeeded(bat->payload(block, std::span(&entry, 1))));
  };
  touch(3);
  touch(3);
  EXPECT_EQ(file.bytes_read, kPageBytes);
  for (std::uint64_t page = 100; page < 100 + Bat::kPagesMax - 1; ++page) touch(page);
  EXPECT_EQ(file.bytes_read, Bat::kPagesMax * kPageBytes);
  touch(3);  // still there, and now the latest
  touch(500);
  touch(3);
  EXPECT_EQ(file.bytes_read, (Bat::kPagesMax + 1) * kPageBytes);
  touch(100);  // the oldest made room
  EXPECT_EQ(file.bytes_read, (Bat::kPagesMax + 2) * kPageBytes);
}

TEST(Bat, TheLastPageEndsWithTheLastEntry) {
  VhdxBuilder disk;
  disk.resize(VhdxBuilder::kBatAt + kMiB);
  const OpenBat opened = open(disk);
  std::vector<std::uint64_t> raw(disk.bat_entries());
  EXPECT_TRUE(succeeded(opened.bat->read_raw(0, raw)));
}

}  // namespace
}  // namespace vhdxm::vhdx
