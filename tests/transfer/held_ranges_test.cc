#include "transfer/held_ranges.h"

#include <gtest/gtest.h>

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kSize = 10 * kCellBytes + 512;

TEST(HeldRangeList, TakesWholeCellsInOrderApartFromEachOther) {
  HeldRangeList list(kSize);
  EXPECT_FALSE(list.add({.offset = 0, .length = 0}));
  EXPECT_FALSE(list.add({.offset = 512, .length = kCellBytes}));
  EXPECT_FALSE(list.add({.offset = 0, .length = kCellBytes - 512}));
  EXPECT_TRUE(list.add({.offset = 0, .length = kCellBytes}));
  EXPECT_FALSE(list.add({.offset = kCellBytes, .length = kCellBytes})) << "it touches";
  EXPECT_FALSE(list.add({.offset = 0, .length = kCellBytes}));
  EXPECT_TRUE(list.add({.offset = 2 * kCellBytes, .length = kCellBytes}));
  EXPECT_FALSE(list.add({.offset = 9 * kCellBytes, .length = 2 * kCellBytes})) << "past the end";
  EXPECT_FALSE(list.add({.offset = ~std::uint64_t{0} - kCellBytes + 1, .length = kCellBytes}));
  EXPECT_TRUE(list.add({.offset = 9 * kCellBytes, .length = kCellBytes + 512}))
      << "the last cell is short";
  EXPECT_EQ(list.share().size(), 3U);
}

TEST(HeldRangeList, BoundsHowManyThereAre) {
  HeldRangeList list(vhdx::kVirtualSizeMax);
  for (std::size_t i = 0; i < kHeldRangesMax; ++i) {
    ASSERT_TRUE(list.add({.offset = 2 * i * kCellBytes, .length = kCellBytes}));
  }
  EXPECT_FALSE(list.add({.offset = 2 * kHeldRangesMax * kCellBytes, .length = kCellBytes}));
}

TEST(HeldRangeList, GivesItsCellsOneAfterTheOther) {
  HeldRangeList list(kSize);
  ASSERT_TRUE(list.add({.offset = kCellBytes, .length = 3 * kCellBytes}));
  ASSERT_TRUE(list.add({.offset = 9 * kCellBytes, .length = kCellBytes + 512}));
  EXPECT_EQ(list.share().size(), 2U);
  EXPECT_FALSE(list.take_cells(0, 1));
  EXPECT_FALSE(list.take_cells(1, 0));
  EXPECT_FALSE(list.take_cells(1, 4));
  EXPECT_TRUE(list.take_cells(1, 2));
  EXPECT_EQ(list.next(), (HeldRange{.offset = 3 * kCellBytes, .length = kCellBytes}));
  EXPECT_FALSE(list.take_cells(1, 1)) << "it was taken";
  EXPECT_TRUE(list.take_cells(3, 1));
  EXPECT_EQ(list.next(), (HeldRange{.offset = 9 * kCellBytes, .length = kCellBytes + 512}));
  EXPECT_FALSE(list.take_cells(9, 3));
  EXPECT_TRUE(list.take_cells(9, 2));
  EXPECT_EQ(list.next().length, 0U);
  EXPECT_FALSE(list.take_cells(11, 1));
}

}  // namespace
}  // namespace vhdxm::transfer
