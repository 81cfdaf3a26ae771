// A file that BulkWriter left in the middle, read by its plan.
#include "vhdx/planned_file.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/memory_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/model_disk.h"
#include "tests/support/random_seed.h"
#include "vhdx/bulk_writer.h"

namespace vhdxm::vhdx {
namespace {

using test::ModelDisk;
using test::succeeded;

/// All of the disk, in pieces of random lengths.
std::vector<Extent> whole_map(const PlannedFile& file, std::mt19937_64& random) {
  const Geometry& geometry = file.geometry();
  std::vector<Extent> extents;
  for (std::uint64_t at = 0; at < geometry.virtual_size_bytes;) {
    const std::uint64_t sectors = 1 + random() % 20'000;
    const std::uint64_t length =
        std::min(sectors * geometry.logical_sector_bytes, geometry.virtual_size_bytes - at);
    const auto end = file.map(at, length, extents, 1 + random() % 50);
    EXPECT_TRUE(succeeded(end));
    if (end.has_error() || *end <= at) return {};
    at = *end;
  }
  return extents;
}

void expect_is(const ModelDisk& disk, const std::vector<Extent>& extents) {
  std::uint64_t at = 0;
  for (const Extent& extent : extents) {
    ASSERT_EQ(extent.virtual_offset, at) << "gaps or overlaps";
    std::vector<std::byte> expected(extent.length);
    std::vector<std::byte> found(extent.length);
    disk.fill(at, expected);
    if (extent.kind == ExtentKind::kData) {
      ASSERT_TRUE(succeeded(read_exact_at(*extent.file, extent.file_offset, found, "test")));
    }
    ASSERT_TRUE(found == expected) << at;
    at += extent.length;
  }
  EXPECT_EQ(at, disk.geometry().virtual_size_bytes);
}

TEST(PlannedFile, HoldsWhatWasWritten) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    Geometry geometry{.virtual_size_bytes = 8 * kMiB + 512 * (random() % 100),
                      .block_bytes = static_cast<std::uint32_t>(kMiB << random() % 3)};
    if (round % 2 == 0) geometry.type = DiskType::kDifferencing;
    const ModelDisk disk = ModelDisk::random(geometry, random, 6 * kMiB);
    const auto file = std::make_shared<MemoryFile>();
    const BlockPlan plan = disk.plan(random);
    const auto writer = BulkWriter::start(file, disk.description(), plan, {});
    ASSERT_TRUE(succeeded(writer));
    disk.write_to(**writer, random);
    const auto planned = PlannedFile::open(file, disk.description(), plan);
    ASSERT_TRUE(succeeded(planned));
    const auto extents = whole_map(**planned, random);
    expect_is(disk, extents);
    for (const Extent& extent : extents) {
      if (plan.use(extent.virtual_offset / geometry.block_bytes) != BlockUse::kPartial) continue;
      for (const test::Segment& segment : disk.segments()) {
        if (segment.end() <= extent.virtual_offset ||
            segment.offset >= extent.virtual_offset + extent.length) {
          continue;
        }
        if (plan.use(segment.offset / geometry.block_bytes) != BlockUse::kPartial) continue;
        EXPECT_EQ(extent.kind == ExtentKind::kParent, segment.kind == ExtentKind::kParent)
            << extent.virtual_offset;
        break;
      }
    }
  }
}

TEST(PlannedFile, NothingWrittenIsNothingHeld) {
  Geometry geometry{.virtual_size_bytes = 8 * kMiB, .block_bytes = kMiB};
  Description description;
  description.geometry = geometry;
  BlockPlan plan(geometry);
  plan.set(2, BlockUse::kFull);
  plan.set(5, BlockUse::kFull);
  const auto file = std::make_shared<MemoryFile>();
  ASSERT_TRUE(succeeded(BulkWriter::start(file, description, plan, {})));
  const auto planned = PlannedFile::open(file, description, plan);
  ASSERT_TRUE(succeeded(planned));
  std::vector<Extent> extents;
  ASSERT_TRUE(succeeded((**planned).map(0, geometry.virtual_size_bytes, extents)));
  ASSERT_EQ(extents.size(), 1U);
  EXPECT_EQ(extents[0].kind, ExtentKind::kUnmapped);
}

TEST(PlannedFile, AFileOfAnotherLengthIsRefused) {
  Geometry geometry{.virtual_size_bytes = 8 * kMiB, .block_bytes = kMiB};
  Description description;
  description.geometry = geometry;
  const auto file = std::make_shared<MemoryFile>();
  ASSERT_TRUE(succeeded(file->resize(3 * kMiB)));
  const auto planned = PlannedFile::open(file, description, BlockPlan(geometry));
  EXPECT_TRUE(test::failed_with(planned, BaseErrc::kInvalidArgument, "memory"));
}

}  // namespace
}  // namespace vhdxm::vhdx
