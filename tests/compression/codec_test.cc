#include "compression/codec.h"

#include <gtest/gtest.h>

namespace vhdxm::compression {
namespace {

TEST(Codec, HasItsNumbersOnTheWire) {
  EXPECT_EQ(codec_from_wire(0), Codec::kNone);
  EXPECT_EQ(codec_from_wire(1), Codec::kZstd);
  for (int number = 2; number < 256; ++number) {
    EXPECT_EQ(codec_from_wire(static_cast<std::uint8_t>(number)), std::nullopt) << number;
  }
}

TEST(Codec, HasNames) {
  EXPECT_EQ(to_string(Codec::kNone), "none");
  EXPECT_EQ(to_string(Codec::kZstd), "zstd");
}

}  // namespace
}  // namespace vhdxm::compression
