#include "base/guid.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace vhdxm {
namespace {

// [MS-VHDX] 2.2.3.2 gives the BAT region's GUID as text and in the order it is stored.
constexpr Guid kBat = guid_literal("2dc27766-f623-4200-9d64-115e9bfd4a08");
constexpr std::array<std::uint8_t, 16> kBatStored = {
    0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};

TEST(Guid, FirstThreeFieldsAreStoredLittleEndian) {
  EXPECT_EQ(kBat.bytes, kBatStored);
}

TEST(Guid, TextRoundTrips) {
  EXPECT_EQ(to_string(kBat), "2dc27766-f623-4200-9d64-115e9bfd4a08");
  EXPECT_EQ(Guid::parse(to_string(kBat)), kBat);
}

TEST(Guid, ParsesBracesAndEitherCase) {
  EXPECT_EQ(Guid::parse("{2DC27766-F623-4200-9D64-115E9BFD4A08}"), kBat);
  EXPECT_EQ(Guid::parse("2DC27766-f623-4200-9D64-115e9bfd4a08"), kBat);
}

TEST(Guid, RefusesWhatIsNoGuid) {
  for (const char* text : {
           "",
           "2dc27766-f623-4200-9d64-115e9bfd4a0",     // too short
           "2dc27766-f623-4200-9d64-115e9bfd4a088",   // too long
           "2dc27766f623-4200-9d64-115e9bfd4a0800",   // a dash is missing
           "2dc27766-f623-4200-9d64-115e9bfd4a0g",    // not hex
           "{2dc27766-f623-4200-9d64-115e9bfd4a08",   // half a pair of braces
           "(2dc27766-f623-4200-9d64-115e9bfd4a08)",  // other brackets
           "2dc27766-f623-4200-9d64_115e9bfd4a08",    // another separator
           " 2dc27766-f623-4200-9d64-115e9bfd4a0",    // a space
           "2dc27766-f623-4200-9d64-115e9b-d4a08",    // a dash where a digit belongs
       }) {
    EXPECT_EQ(Guid::parse(text), std::nullopt) << text;
  }
}

TEST(Guid, RandomIsVersion4Variant1AndDiffers) {
  std::set<Guid> seen;
  for (int i = 0; i < 100; ++i) {
    const Guid guid = Guid::random();
    const std::string text = to_string(guid);
    EXPECT_EQ(text[14], '4') << text;
    EXPECT_NE(std::string("89ab").find(text[19]), std::string::npos) << text;
    EXPECT_TRUE(seen.insert(guid).second) << text;
  }
}

TEST(Guid, OnlyTheZeroGuidIsZero) {
  EXPECT_TRUE(Guid{}.is_zero());
  for (std::size_t i = 0; i < 16; ++i) {
    Guid guid;
    guid.bytes[i] = 1;
    EXPECT_FALSE(guid.is_zero()) << i;
  }
}

}  // namespace
}  // namespace vhdxm
