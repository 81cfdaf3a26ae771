#include "tools/bit_rate.h"

#include <gtest/gtest.h>

namespace vhdxm::tools {
namespace {

TEST(BitRate, IsDecimalAndInBits) {
  EXPECT_EQ(parse_bit_rate("100M"), 100e6);
  EXPECT_EQ(parse_bit_rate("1G"), 1e9);
  EXPECT_EQ(parse_bit_rate("2.5g"), 2.5e9);
  EXPECT_EQ(parse_bit_rate("56K"), 56e3);
  EXPECT_EQ(parse_bit_rate("1T"), 1e12);
  EXPECT_EQ(parse_bit_rate("125000"), 125000.0);
}

TEST(BitRate, RefusesWhatIsNoRate) {
  for (const char* text : {"", "G", "fast", "1X", "1 G", "-1G", "1e9", "0", "0.5K", "2000T", "nan",
                           "inf", "1GG", "1Gbit", "0x10M", "."}) {
    EXPECT_EQ(parse_bit_rate(text), std::nullopt) << text;
  }
}

TEST(BitRate, IsShownInTheUnitThatFits) {
  EXPECT_EQ(format_bit_rate(125e6), "1.0 Gbit/s");
  EXPECT_EQ(format_bit_rate(11.9e6), "95 Mbit/s");
  EXPECT_EQ(format_bit_rate(312.5e6), "2.5 Gbit/s");
  EXPECT_EQ(format_bit_rate(1000), "8.0 kbit/s");
  EXPECT_EQ(format_bit_rate(125e12), "1000 Tbit/s");
}

}  // namespace
}  // namespace vhdxm::tools
