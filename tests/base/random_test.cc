#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace vhdxm {
namespace {

TEST(Random, FillsMoreThanOneSystemCallGives) {
  // getrandom() may stop early above 256 bytes; the last bytes must be filled all the same.
  std::vector<std::byte> bytes(100'000);
  random_bytes(bytes);
  for (std::size_t begin = 0; begin < bytes.size(); begin += 1000) {
    const auto piece = std::span(bytes).subspan(begin, 1000);
    EXPECT_TRUE(std::any_of(piece.begin(), piece.end(), [](std::byte b) {
      return b != std::byte{0};
    })) << begin;
  }
}

TEST(Random, TwoNumbersDiffer) {
  EXPECT_NE(random_u64(), random_u64());
}

}  // namespace
}  // namespace vhdxm
