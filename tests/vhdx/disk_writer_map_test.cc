// The map of a disk in use is the map of the file that it leaves.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/writable_disk.h"
#include "vhdx/disk_writer.h"
#include "vhdx/image.h"

namespace vhdxm::vhdx {
namespace {

using test::succeeded;
using test::WritableDisk;

class DiskWriterMap : public testing::TestWithParam<test::DiskKind> {};

/// What is at each sector, by any function that maps.
template <class Disk>
std::vector<ExtentKind> kinds_of(Disk& disk, const Geometry& geometry, std::mt19937_64& random) {
  const std::uint64_t sector = geometry.logical_sector_bytes;
  const std::uint64_t size = geometry.virtual_size_bytes;
  std::vector<ExtentKind> kinds;
  std::vector<Extent> extents;
  for (std::uint64_t at = 0; at < size;) {
    extents.clear();
    const std::uint64_t most = (1 + random() % 5000) * sector;
    const auto mapped = disk.map(at, std::min(most, size - at), extents, 1 + random() % 5);
    EXPECT_TRUE(succeeded(mapped));
    EXPECT_FALSE(extents.empty());
    if (testing::Test::HasFailure()) return {};
    for (const Extent& extent : extents) {
      EXPECT_EQ(extent.virtual_offset, at);
      kinds.insert(kinds.end(), static_cast<std::size_t>(extent.length / sector), extent.kind);
      at += extent.length;
    }
    EXPECT_EQ(*mapped, at);
  }
  return kinds;
}

TEST_P(DiskWriterMap, AgreesWithTheFileAfterRandomOperations) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  const WritableDisk made(GetParam());
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  for (std::uint32_t round = 1; round <= 12; ++round) {
    auto disk = made.open(file);
    ASSERT_TRUE(succeeded(disk));
    ASSERT_TRUE(succeeded((*disk)->validate_bats()));
    for (std::uint32_t i = 0; i < round * 4; ++i) {
      const auto operation = test::random_operation(made.geometry(), i + 1, random);
      ASSERT_TRUE(succeeded(test::apply(**disk, operation)));
    }
    const auto live = kinds_of(**disk, made.geometry(), random);
    ASSERT_TRUE(succeeded((*disk)->close()));
    const auto image = made.open_for_reading(file);
    ASSERT_TRUE(succeeded(image));
    ASSERT_TRUE(live == kinds_of(**image, made.geometry(), random));
  }
}

TEST_P(DiskWriterMap, NeighboursOfOneKindAreOneExtent) {
  const WritableDisk made(GetParam());
  auto disk = made.open(made.file().clone());
  ASSERT_TRUE(succeeded(disk));
  const std::uint64_t block = made.geometry().block_bytes;
  const std::vector<std::byte> bytes(static_cast<std::size_t>(3 * block), std::byte{1});
  ASSERT_TRUE(succeeded((*disk)->write(0, bytes)));
  std::vector<Extent> extents;
  const auto mapped = (*disk)->map(0, 3 * block, extents);
  ASSERT_TRUE(succeeded(mapped));
  EXPECT_EQ(*mapped, 3 * block);
  ASSERT_EQ(extents.size(), 1U);
  EXPECT_EQ(extents[0].kind, ExtentKind::kData);
  EXPECT_EQ(extents[0].length, 3 * block);
}

INSTANTIATE_TEST_SUITE_P(All, DiskWriterMap, testing::ValuesIn(test::all_disk_kinds()),
                         [](const auto& one) { return test::to_string(one.param); });

}  // namespace
}  // namespace vhdxm::vhdx
