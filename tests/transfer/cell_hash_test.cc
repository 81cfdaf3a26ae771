#include "transfer/cell_hash.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/little_endian.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kSeed = 77;

std::vector<std::byte> cell_of(std::uint8_t fill, std::size_t bytes = kCellBytes) {
  return std::vector<std::byte>(bytes, std::byte{fill});
}

TEST(CellHash, OfAWholeCellIsTheHashOfItsBytes) {
  const auto bytes = cell_of(7);
  SectorPresence presence(kCellBytes, 512);
  presence.set(0, kCellBytes / 2);
  presence.set(kCellBytes / 2, kCellBytes / 2);
  EXPECT_TRUE(presence.all());
  EXPECT_EQ(cell_hash(bytes, presence, kSeed), hash128(bytes, kSeed));
  EXPECT_NE(cell_hash(bytes, presence, kSeed), cell_hash(bytes, presence, kSeed + 1));
}

TEST(CellHash, OfACellWithoutASectorSaysNotHere) {
  EXPECT_EQ(cell_hash(cell_of(7), SectorPresence(kCellBytes, 512), kSeed), Hash128{});
}

// As docs/protocol.md defines it.
TEST(CellHash, OfAMixedCellCountsWhichSectorsArePresent) {
  const auto bytes = cell_of(0, 5 * 4096);
  SectorPresence presence(bytes.size(), 4096);
  presence.set(4096, 4096);
  presence.set(4 * 4096, 4096);
  ASSERT_EQ(presence.bits().size(), 1U);
  EXPECT_EQ(presence.bits()[0], std::byte{0b10010});
  const Hash128 content = hash128(bytes, kSeed);
  const Hash128 sectors = hash128(presence.bits(), kSeed);
  const std::array<Le64, 4> both = {content.low, content.high, sectors.low, sectors.high};
  EXPECT_EQ(cell_hash(bytes, presence, kSeed), hash128(std::as_bytes(std::span(both)), kSeed));

  SectorPresence other(bytes.size(), 4096);
  other.set(0, 4096);
  other.set(4 * 4096, 4096);
  EXPECT_NE(cell_hash(bytes, other, kSeed), cell_hash(bytes, presence, kSeed))
      << "the same bytes, seen through to the parent elsewhere";
}

}  // namespace
}  // namespace vhdxm::transfer
