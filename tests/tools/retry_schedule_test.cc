#include "tools/retry_schedule.h"

#include <gtest/gtest.h>

#include "tests/support/random_seed.h"

namespace vhdxm::tools {
namespace {

using namespace std::chrono_literals;
using TimePoint = RetrySchedule::TimePoint;

class RetryScheduleTest : public testing::Test {
 protected:
  RetryScheduleTest() : trace_(__FILE__, __LINE__, test::repeat_with(seed_)) {}

  static constexpr TimePoint kBegin{1'000'000s};
  const std::uint64_t seed_ = test::random_seed();
  const testing::ScopedTrace trace_;
  RetrySchedule schedule_{{.first = 5s, .most = 5min}, seed_};
};

TEST_F(RetryScheduleTest, WaitsTwiceAsLongEachTimeUpToTheMost) {
  schedule_.add("a", kBegin);
  TimePoint now = kBegin;
  for (const auto longest : {5s, 10s, 20s, 40s, 80s, 160s, 300s, 300s, 300s}) {
    ASSERT_EQ(schedule_.due(now), "a");
    const auto delay = schedule_.failed("a", now);
    EXPECT_LE(delay, longest);
    EXPECT_GE(delay, longest * 3 / 4);
    EXPECT_EQ(schedule_.next(), now + delay);
    EXPECT_FALSE(schedule_.due(now + delay - 1ns).has_value());
    now += delay;
  }
}

TEST_F(RetryScheduleTest, ThoseThatFailTogetherDoNotComeBackTogether) {
  schedule_.add("a", kBegin);
  schedule_.add("b", kBegin);
  EXPECT_NE(schedule_.failed("a", kBegin), schedule_.failed("b", kBegin));
}

TEST_F(RetryScheduleTest, TheOneThatWaitsLongestComesFirst) {
  EXPECT_FALSE(schedule_.next().has_value());
  schedule_.add("a", kBegin + 2s);
  schedule_.add("b", kBegin + 1s);
  schedule_.add("b", kBegin);  // it is there already
  EXPECT_FALSE(schedule_.due(kBegin).has_value());
  EXPECT_EQ(schedule_.next(), kBegin + 1s);
  EXPECT_EQ(schedule_.due(kBegin + 9s), "b");
  schedule_.remove("b");
  EXPECT_EQ(schedule_.due(kBegin + 9s), "a");
  schedule_.remove("a");
  EXPECT_FALSE(schedule_.due(kBegin + 9s).has_value());
}

TEST_F(RetryScheduleTest, HurriedOnesAreDueAndTheirWaitsStayLong) {
  schedule_.add("a", kBegin);
  schedule_.failed("a", kBegin);
  schedule_.failed("a", kBegin);
  schedule_.hurry(kBegin + 1s);
  EXPECT_EQ(schedule_.due(kBegin + 1s), "a");
  EXPECT_GE(schedule_.failed("a", kBegin + 1s), 15s);
  schedule_.add("late", kBegin);
  schedule_.hurry(kBegin + 1s);
  EXPECT_EQ(schedule_.due(kBegin), "late") << "nothing is put off";
}

TEST_F(RetryScheduleTest, AFirstWaitBeyondTheMostIsTheMost) {
  RetrySchedule schedule({.first = 24h, .most = 5min}, seed_);
  schedule.add("a", kBegin);
  EXPECT_LE(schedule.failed("a", kBegin), 5min);
}

}  // namespace
}  // namespace vhdxm::tools
