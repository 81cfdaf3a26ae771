#include "transfer/coverage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory_resource>
#include <random>
#include <vector>

#include "tests/support/random_seed.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

/// How much is allocated.
class CountedMemory final : public std::pmr::memory_resource {
 public:
  std::uint64_t bytes = 0;

 private:
  void* do_allocate(std::size_t size, std::size_t alignment) override {
    bytes += size;
    return std::pmr::new_delete_resource()->allocate(size, alignment);
  }
  void do_deallocate(void* memory, std::size_t size, std::size_t alignment) override {
    bytes -= size;
    std::pmr::new_delete_resource()->deallocate(memory, size, alignment);
  }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }
};

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

TEST(Coverage, WhatIsSetApartMayComeInAnOrderOfItsOwn) {
  constexpr std::uint64_t kSize = 100 * kCellBytes + 512;
  std::vector<HeldRange> apart;
  for (std::uint64_t cell = 1; cell < 100; cell += 2) {
    apart.push_back({.offset = cell * kCellBytes, .length = kCellBytes});
  }
  // All of the rest, and after that what is set apart: fifty gaps at one time, and one run of each.
  Coverage coverage(kSize, 2);
  coverage.set_apart(apart);
  for (std::uint64_t cell = 0; cell < 100; cell += 2) {
    EXPECT_EQ(coverage.first_gap(), cell == 0 ? 0 : kCellBytes);
    ASSERT_TRUE(coverage.add(cell * kCellBytes, kCellBytes)) << cell;
  }
  ASSERT_TRUE(coverage.add(100 * kCellBytes, 512));
  for (std::uint64_t cell = 1; cell < 100; cell += 2) {
    EXPECT_EQ(coverage.first_gap(), cell * kCellBytes);
    EXPECT_TRUE(coverage.add((cell - 1) * kCellBytes, 2 * kCellBytes).has_error());
    ASSERT_TRUE(coverage.add(cell * kCellBytes, kCellBytes)) << cell;
  }
  EXPECT_TRUE(coverage.complete());
  EXPECT_EQ(coverage.first_gap(), kSize);
}

TEST(Coverage, AgreesWithAModelWhateverIsSetApart) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    const std::size_t size = 1 + random() % 300;
    std::vector<HeldRange> apart;
    for (std::size_t at = random() % 20; at < size; at += 1 + random() % 20) {
      const std::size_t length = std::min<std::size_t>(1 + random() % 20, size - at);
      apart.push_back({.offset = at, .length = length});
      at += length;
    }
    Coverage coverage(size);
    coverage.set_apart(apart);
    std::vector<bool> model(size, false);
    for (int step = 0; step < 200; ++step) {
      const std::size_t offset = random() % size;
      const std::size_t length =
          std::min<std::size_t>(1 + random() % (1 + size / 8), size - offset);
      const auto begin = model.begin() + static_cast<std::ptrdiff_t>(offset);
      const auto end = begin + static_cast<std::ptrdiff_t>(length);
      const bool free = std::find(begin, end, true) == end;
      const Result<void> result = coverage.add(offset, length);
      ASSERT_EQ(result.has_value(), free) << offset << "+" << length;
      if (!free) break;  // what it holds is of no use any more
      std::fill(begin, end, true);
      const auto covered = static_cast<std::uint64_t>(std::count(model.begin(), model.end(), true));
      ASSERT_EQ(coverage.covered(), covered);
      ASSERT_EQ(coverage.complete(), covered == size);
      const auto gap = std::find(model.begin(), model.end(), false) - model.begin();
      ASSERT_EQ(coverage.first_gap(), static_cast<std::uint64_t>(gap));
    }
  }
}

// A sender that sends every second sector of a large disk.
TEST(Coverage, MemoryIsBoundedWhateverAPeerSends) {
  CountedMemory memory;
  Coverage coverage(vhdx::kVirtualSizeMax, kCoverageRunsMax, &memory);
  std::uint64_t runs = 0;
  while (coverage.add(runs * 1024, 512).has_value()) ++runs;
  EXPECT_EQ(runs, kCoverageRunsMax);
  EXPECT_LE(memory.bytes, kCoverageRunsMax * kCoverageRunBytes * 9 / 8);
}

}  // namespace
}  // namespace vhdxm::transfer
