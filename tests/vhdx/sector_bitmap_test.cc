#include "vhdx/sector_bitmap.h"

#include <gtest/gtest.h>

#include <random>

#include "base/memory_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"

namespace vhdxm::vhdx {
namespace {

using Bytes = std::vector<std::byte>;

TEST(SectorBits, TheLowestBitOfAByteIsFirst) {
  const SectorBits bits({std::byte{0x01}, std::byte{0x80}}, 0, 16);
  EXPECT_TRUE(bits.is_present(0));
  EXPECT_FALSE(bits.is_present(1));
  EXPECT_FALSE(bits.is_present(14));
  EXPECT_TRUE(bits.is_present(15));
  EXPECT_EQ(bits.run_end(0), 1U);
  EXPECT_EQ(bits.run_end(1), 15U);
  EXPECT_EQ(bits.run_end(15), 16U);
}

TEST(SectorBits, RunsEndWhereTheRangeEndsWhateverFollows) {
  const SectorBits bits(Bytes(64, std::byte{0xff}), 3, 400);
  EXPECT_EQ(bits.run_end(0), 400U);
  const SectorBits zeros(Bytes(64), 3, 400);
  EXPECT_EQ(zeros.run_end(17), 400U);
}

TEST(SectorBits, RunsAreThoseOfABitByBitSearch) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    Bytes bytes(1 + random() % 100);
    // Long runs are what a disk has; single bits are what breaks a search.
    for (std::byte& byte : bytes) {
      const auto kind = random() % 4;
      byte = kind == 0   ? std::byte{0}
             : kind == 1 ? std::byte{0xff}
                         : static_cast<std::byte>(random());
    }
    const std::size_t first = random() % 8;
    const std::size_t count = 1 + random() % (bytes.size() * 8 - first);
    const SectorBits bits(bytes, first, count);
    for (std::size_t sector = 0; sector < count; ++sector) {
      std::size_t end = sector + 1;
      while (end < count && bits.is_present(end) == bits.is_present(sector)) ++end;
      ASSERT_EQ(bits.run_end(sector), end) << sector;
    }
  }
}

TEST(SectorBits, OnlyTheBytesAskedForAreRead) {
  MemoryFile file;
  ASSERT_TRUE(test::succeeded(file.resize(kMiB + 100)));
  const Bytes set{std::byte{0xf0}};
  ASSERT_TRUE(test::succeeded(file.write_at(kMiB + 99, set)));
  const auto bits = SectorBits::read(file, kMiB, 99 * 8 + 4, 4);
  ASSERT_TRUE(test::succeeded(bits));
  EXPECT_EQ(bits->run_end(0), 4U);
  EXPECT_TRUE(bits->is_present(0));
  EXPECT_TRUE(test::failed_with(SectorBits::read(file, kMiB, 99 * 8 + 4, 5), BaseErrc::kShortRead));
}

TEST(SectorBits, BlocksFollowEachOtherInTheirChunk) {
  const Geometry geometry{
      .virtual_size_bytes = kTiB, .block_bytes = 2 << 20, .logical_sector_bytes = 512};
  EXPECT_EQ(first_sector_in_chunk(geometry, 0), 0U);
  EXPECT_EQ(first_sector_in_chunk(geometry, 3), 3U * 4096);
  EXPECT_EQ(first_sector_in_chunk(geometry, 2048 + 3), 3U * 4096);
}

}  // namespace
}  // namespace vhdxm::vhdx
