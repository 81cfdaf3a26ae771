#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

#include "tests/support/random_seed.h"

namespace vhdxm {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// One bit at a time, as the polynomial is defined.
std::uint32_t slow_crc32c(std::span<const std::byte> bytes) {
  std::uint32_t crc = ~0U;
  for (const std::byte byte : bytes) {
    crc ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0U);
  }
  return ~crc;
}

TEST(Crc32c, CheckValue) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283U);
}

TEST(Crc32c, VectorsOfRfc3720) {  // appendix B.4
  std::vector<std::byte> bytes(32, std::byte{0});
  EXPECT_EQ(crc32c(bytes), 0x8a9136aaU);
  std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
  EXPECT_EQ(crc32c(bytes), 0x62a8ab43U);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(bytes), 0x46dd794eU);
}

TEST(Crc32c, OfNothingIsZeroAndKeepsWhatCameBefore) {
  EXPECT_EQ(crc32c({}), 0U);
  EXPECT_EQ(crc32c({}, 0x12345678U), 0x12345678U);
}

TEST(Crc32c, InPiecesEqualsWholeAndTheDefinition) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::byte> bytes(random() % 3000);
    for (auto& byte : bytes) byte = static_cast<std::byte>(random());
    const std::uint32_t expected = slow_crc32c(bytes);
    EXPECT_EQ(crc32c(bytes), expected);
    std::uint32_t crc = 0;
    for (std::span<const std::byte> rest = bytes; !rest.empty();) {
      const auto piece = rest.first(1 + random() % rest.size());
      crc = crc32c(piece, crc);
      rest = rest.subspan(piece.size());
    }
    EXPECT_EQ(crc, bytes.empty() ? 0 : expected);
  }
}

TEST(Crc32c, FieldCountsAsZeroWhereverItStands) {
  std::vector<std::byte> bytes(64);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i + 1);
  for (const std::size_t offset : {0U, 4U, 31U, 60U}) {
    auto zeroed = bytes;
    std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(offset), 4, std::byte{0});
    EXPECT_EQ(crc32c_with_field_zero(bytes, offset), crc32c(zeroed)) << offset;
  }
}

}  // namespace
}  // namespace vhdxm
