#include "base/size_text.h"

#include <gtest/gtest.h>

namespace vhdxm {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;
constexpr std::uint64_t kTiB = 1024 * kGiB;

TEST(SizeText, ParsesWhatPeopleWrite) {
  const struct {
    const char* text;
    std::uint64_t bytes;
  } cases[] = {
      {"0", 0},
      {"4096", 4096},
      {"4096B", 4096},
      {"1K", kKiB},
      {"1k", kKiB},
      {"64MiB", 64 * kMiB},
      {"64MB", 64 * kMiB},
      {"64M", 64 * kMiB},
      {"8G", 8 * kGiB},
      {"1.5G", kGiB + kGiB / 2},
      {"0.5K", 512},
      {"64T", 64 * kTiB},
      {"64t", 64 * kTiB},
      {"1P", 1024 * kTiB},
      {"9007199254740993", 9007199254740993},  // 2^53 + 1: more than a double holds
      {"9223372036854775808", std::uint64_t{1} << 63},
      {"8192P", std::uint64_t{1} << 63},
  };
  for (const auto& [text, bytes] : cases) EXPECT_EQ(parse_size(text), bytes) << text;
}

TEST(SizeText, RefusesWhatIsNoSize) {
  for (const char* text : {"",
                           "G",
                           "-1",
                           "-1G",
                           "+1",
                           " 1",
                           "1 ",
                           "1 G",
                           "1X",
                           "1GG",
                           "1Gi",
                           "1GiBs",
                           "1GBi",
                           "1e3",
                           "0x10",
                           "nan",
                           "inf",
                           "infG",
                           "1.5",
                           "1.5B",
                           "0.3K",
                           "1,5G",
                           "9223372036854775809",
                           "8193P",
                           "18446744073709551615",
                           "18446744073709551616",
                           "99999999999999999999999T",
                           "1..5G"}) {
    EXPECT_EQ(parse_size(text), std::nullopt) << text;
  }
}

TEST(SizeText, FormatsForPeople) {
  const struct {
    std::uint64_t bytes;
    const char* text;
  } cases[] = {
      {0, "0 B"},
      {1, "1 B"},
      {1023, "1023 B"},
      {kKiB, "1 KiB"},
      {kKiB + 1, "1.0 KiB"},
      {kKiB + kKiB / 2, "1.5 KiB"},
      {kMiB - 1, "1.0 MiB"},  // never "1024.0 KiB"
      {8 * kGiB, "8 GiB"},
      {kTiB + kTiB / 2, "1.5 TiB"},
      {64 * kTiB, "64 TiB"},
      {1024 * kTiB, "1 PiB"},
  };
  for (const auto& [bytes, text] : cases) EXPECT_EQ(format_size(bytes), text) << bytes;
}

TEST(SizeText, FormattedPowersOfTwoHaveAUnit) {
  for (int power = 0; power < 64; ++power) {
    const std::string text = format_size(std::uint64_t{1} << power);
    EXPECT_TRUE(text.ends_with("B")) << text;
    EXPECT_LE(text.size(), 9U) << text;
  }
}

}  // namespace
}  // namespace vhdxm
