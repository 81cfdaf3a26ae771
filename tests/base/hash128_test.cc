#include "base/hash128.h"

#include <gtest/gtest.h>

#include <vector>

namespace vhdxm {
namespace {

constexpr std::uint64_t kMax = ~std::uint64_t{0};

TEST(Hash128, IsXxh3OfTheEmptyInput) {
  // xxHash's own published value for XXH3-128 of nothing, seed 0.
  EXPECT_EQ(to_string(hash128({}, 0)), "99aa06d3014798d86001c324468d497f");
}

TEST(Hash128, DependsOnSeedContentAndLength) {
  const std::vector<std::byte> zeros(8192);
  auto one = zeros;
  one[5000] = std::byte{1};
  const std::span<const std::byte> all = zeros;
  EXPECT_EQ(hash128(all, 7), hash128(all, 7));
  EXPECT_NE(hash128(all, 7), hash128(all, 8));
  EXPECT_NE(hash128(all, 7), hash128(one, 7));
  EXPECT_NE(hash128(all, 7), hash128(all.first(8191), 7));
}

TEST(Hash128, SumCarriesAndWraps) {
  Hash128 sum{.low = kMax, .high = 1};
  sum += {.low = 1, .high = 0};
  EXPECT_EQ(sum, (Hash128{.low = 0, .high = 2}));
  sum = {.low = kMax, .high = kMax};
  sum += {.low = 2, .high = 0};
  EXPECT_EQ(sum, (Hash128{.low = 1, .high = 0}));
}

TEST(Hash128, SumDoesNotDependOnOrder) {
  const std::vector<std::byte> bytes(300);
  std::vector<Hash128> hashes;
  for (std::uint64_t i = 0; i < 100; ++i) hashes.push_back(hash128(bytes, i));
  Hash128 forward;
  Hash128 backward;
  for (std::size_t i = 0; i < 100; ++i) {
    forward += hashes[i];
    backward += hashes[99 - i];
  }
  EXPECT_EQ(forward, backward);
}

TEST(Hash128, TextIsMostSignificantFirst) {
  EXPECT_EQ(to_string(Hash128{.low = 0xf, .high = 0xab}), "00000000000000ab000000000000000f");
}

TEST(AllZero, FindsASingleByteAnywhere) {
  std::vector<std::byte> bytes(1000);
  const std::span<const std::byte> all = bytes;
  for (std::size_t begin = 0; begin < 10; ++begin) EXPECT_TRUE(all_zero(all.subspan(begin)));
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    bytes[at] = std::byte{0x80};
    EXPECT_FALSE(all_zero(all)) << at;
    EXPECT_TRUE(all_zero(all.first(at))) << at;
    EXPECT_TRUE(all_zero(all.subspan(at + 1))) << at;
    bytes[at] = std::byte{0};
  }
}

TEST(AllZero, NothingIsAllZero) {
  EXPECT_TRUE(all_zero({}));
}

}  // namespace
}  // namespace vhdxm
