#include "base/little_endian.h"

#include <gtest/gtest.h>

namespace vhdxm {
namespace {

struct RawThing {
  Le16 a;
  Le64 b;
  Le32 c;
};
static_assert(sizeof(RawThing) == 14 && alignof(RawThing) == 1);

TEST(LittleEndian, StoresTheLeastSignificantByteFirst) {
  std::array<std::byte, 14> bytes{};
  store_raw(bytes.data(),
            RawThing{.a = std::uint16_t{0x0102}, .b = 0x0102030405060708U, .c = 0x0a0b0c0dU});
  const std::array<std::uint8_t, 14> expected = {0x02, 0x01, 0x08, 0x07, 0x06, 0x05, 0x04,
                                                 0x03, 0x02, 0x01, 0x0d, 0x0c, 0x0b, 0x0a};
  EXPECT_EQ(std::memcmp(bytes.data(), expected.data(), bytes.size()), 0);
}

TEST(LittleEndian, LoadsFromAnyAlignment) {
  std::array<std::byte, 32> bytes{};
  for (std::size_t shift = 0; shift < 16; ++shift) {
    store_raw(bytes.data() + shift, RawThing{.a = std::uint16_t{7}, .b = ~0ULL - 1, .c = 9U});
    const auto raw = load_raw<RawThing>(bytes.data() + shift);
    EXPECT_EQ(raw.a, 7);
    EXPECT_EQ(raw.b, ~0ULL - 1);
    EXPECT_EQ(raw.c, 9U);
  }
}

}  // namespace
}  // namespace vhdxm
