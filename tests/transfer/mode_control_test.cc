#include "transfer/mode_control.h"

#include <gtest/gtest.h>

#include <limits>

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
constexpr double kAllProcessors = std::numeric_limits<double>::infinity();
constexpr ModeControl::TimePoint kStart{1000s};

TEST(ModeControl, SpreadsTheTwoWaysEvenly) {
  ModeControl control({.light = std::nullopt, .strong = 3, .strong_share = 0.25}, kAllProcessors);
  unsigned strong = 0;
  for (int i = 1; i <= 400; ++i) {
    const auto way = control.next(kStart);
    if (way) {
      EXPECT_EQ(*way, 3);
      ++strong;
    }
    EXPECT_NEAR(strong, i * 0.25, 1.0) << "extent " << i;
  }
  EXPECT_EQ(strong, 100U);
}

TEST(ModeControl, OneLevelIsTakenForAllAndPlainForNone) {
  ModeControl all({.light = 7, .strong = 7, .strong_share = 0}, kAllProcessors);
  ModeControl none({}, kAllProcessors);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(all.next(kStart), 7);
    EXPECT_EQ(none.next(kStart), std::nullopt);
  }
}

// Half a processor: an extent of 10 ms of work can be had every 20 ms.
TEST(ModeControl, HoldsItsShareOfTheProcessors) {
  ModeControl control({.light = 1, .strong = 1, .strong_share = 0}, 0.5);
  std::chrono::nanoseconds used{0};
  const auto end = 10s;
  for (auto at = 0ns; at < end; at += 1ms) {
    if (!control.next(kStart + at)) continue;
    used += 10ms;
    control.note(
        {.level = 1,
         .raw_bytes = 100,
         .wire_bytes = 50,
         .processor_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(10ms).count())});
  }
  EXPECT_NEAR(std::chrono::duration<double>(used).count(), 5.0, 0.25);
}

TEST(ModeControl, AddsUpWhatBecameOfExtents) {
  ModeControl control({.light = 1, .strong = 3, .strong_share = 0.5}, kAllProcessors);
  control.note({.level = 1, .raw_bytes = 1000, .wire_bytes = 300, .processor_ns = 5});
  control.note({.level = 3, .raw_bytes = 1000, .wire_bytes = 200, .processor_ns = 7});
  control.note({.level = 3, .raw_bytes = 1000, .wire_bytes = 1000, .processor_ns = 1});
  const ModeControl::Totals totals = control.totals();
  EXPECT_EQ(totals.packed_bytes, 2000U);
  EXPECT_EQ(totals.saved_bytes, 1500U);
  EXPECT_EQ(totals.processor_ns, 13U);
  EXPECT_EQ(totals.by_level, (std::map<int, std::uint64_t>{{1, 1000}, {3, 1000}}));
}

TEST(ModeControl, OneStreamFindsOutWhatLevelsCost) {
  ModeControl control({}, kAllProcessors);
  EXPECT_FALSE(control.costs_wanted());
  control.ask_for_costs(3);
  EXPECT_EQ(control.costs_wanted(), 3);
  EXPECT_FALSE(control.costs_wanted()) << "another stream does it already";
  control.note_costs({{.level = 1, .ratio = 0.5}});
  EXPECT_EQ(control.take_costs().size(), 1U);
  EXPECT_TRUE(control.take_costs().empty());
}

}  // namespace
}  // namespace vhdxm::transfer
