#include "transfer/coverage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/support/random_seed.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

TEST(Coverage, EveryByteOnceIsComplete) {
  Coverage coverage(100);
  EXPECT_FALSE(coverage.complete());
  EXPECT_EQ(coverage.first_gap(), 0u);
  ASSERT_TRUE(coverage.add(50, 50));
  EXPECT_EQ(coverage.first_gap(), 0u);
  ASSERT_TRUE(coverage.add(0, 20));
  EXPECT_EQ(coverage.first_gap(), 20u);
  ASSERT_TRUE(coverage.add(20, 30));
  EXPECT_TRUE(coverage.complete());
  EXPECT_EQ(coverage.first_gap(), 100u);
  EXPECT_EQ(coverage.covered(), 100u);
}

TEST(Coverage, EmptyDiskIsComplete) {
  Coverage coverage(0);
  EXPECT_TRUE(coverage.complete());
  EXPECT_EQ(coverage.first_gap(), 0u);
}

TEST(Coverage, OverlapIsRefusedAndChangesNothing) {
  Coverage coverage(1000);
  ASSERT_TRUE(coverage.add(100, 100));
  for (const auto& [offset, length] : {std::pair{100u, 100u},
                                       {150u, 10u},
                                       {199u, 1u},
                                       {100u, 1u},
                                       {0u, 101u},
                                       {199u, 100u},
                                       {0u, 1000u}}) {
    const Result<void> result = coverage.add(offset, length);
    ASSERT_TRUE(result.has_error()) << offset << "+" << length;
    EXPECT_EQ(result.error().code, Errc::kProtocol);
    EXPECT_EQ(result.error().offset, offset);
    EXPECT_EQ(coverage.covered(), 100u);
  }
  EXPECT_TRUE(coverage.add(0, 100));
  EXPECT_TRUE(coverage.add(200, 800));
  EXPECT_TRUE(coverage.complete());
}

TEST(Coverage, RangesOutsideTheDiskAreRefused) {
  Coverage coverage(1000);
  constexpr std::uint64_t kHuge = ~std::uint64_t{0};
  for (const auto& [offset, length] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {1000, 1},
           {999, 2},
           {0, 1001},
           {kHuge, 1},
           {1, kHuge},
           {kHuge, kHuge},
           {std::uint64_t{1} << 63, std::uint64_t{1} << 63}}) {
    const Result<void> result = coverage.add(offset, length);
    ASSERT_TRUE(result.has_error()) << offset << "+" << length;
    EXPECT_EQ(result.error().code, Errc::kProtocol);
  }
  EXPECT_EQ(coverage.covered(), 0u);
}

TEST(Coverage, SeparateRunsAreBounded) {
  Coverage coverage(1000, 3);
  ASSERT_TRUE(coverage.add(0, 1));
  ASSERT_TRUE(coverage.add(10, 1));
  ASSERT_TRUE(coverage.add(20, 1));
  EXPECT_TRUE(coverage.add(30, 1).has_error());
  EXPECT_TRUE(coverage.add(11, 1)) << "joining an old run needs no new one";
  EXPECT_TRUE(coverage.add(19, 1));
  EXPECT_TRUE(coverage.add(12, 7)) << "joins two runs";
  EXPECT_TRUE(coverage.add(30, 1)) << "which makes room";
}

TEST(Coverage, AgreesWithAModel) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    const std::size_t size = 1 + random() % 300;
    Coverage coverage(size);
    std::vector<bool> model(size, false);
    for (int step = 0; step < 200; ++step) {
      const std::size_t offset = random() % (size + 2);
      const std::size_t length = random() % (1 + size / 8);
      const bool inside = offset <= size && length <= size - offset;
      bool free = inside;
      for (std::size_t at = offset; inside && at < offset + length; ++at) free = free && !model[at];
      const bool expected = length == 0 || free;
      const Result<void> result = coverage.add(offset, length);
      ASSERT_EQ(result.has_value(), expected) << offset << "+" << length;
      if (result && length > 0) {
        std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(offset), length, true);
      }
      const auto covered = static_cast<std::uint64_t>(std::count(model.begin(), model.end(), true));
      ASSERT_EQ(coverage.covered(), covered);
      ASSERT_EQ(coverage.complete(), covered == size);
      const auto gap = std::find(model.begin(), model.end(), false) - model.begin();
      ASSERT_EQ(coverage.first_gap(), static_cast<std::uint64_t>(gap));
    }
  }
}

}  // namespace
}  // namespace vhdxm::transfer
