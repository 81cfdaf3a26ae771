#include "transfer/wait_clock.h"

#include <gtest/gtest.h>

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;

TEST(WaitClock, CountsWhatIsUnderWayToo) {
  const WaitClock::TimePoint begin{100s};
  WaitClock clock;
  EXPECT_EQ(clock.total(begin), 0s);
  clock.begin(begin);
  EXPECT_EQ(clock.total(begin + 3s), 3s);
  clock.end(begin + 5s);
  EXPECT_EQ(clock.total(begin + 9s), 5s);
  clock.begin(begin + 10s);
  EXPECT_EQ(clock.total(begin + 11s), 6s);
}

TEST(WaitClock, BeginningTwiceIsOneWaitAndEndingTwiceOneEnd) {
  const WaitClock::TimePoint begin{100s};
  WaitClock clock;
  clock.begin(begin);
  clock.begin(begin + 2s);
  clock.end(begin + 3s);
  clock.end(begin + 9s);
  EXPECT_EQ(clock.total(begin + 20s), 3s);
}

TEST(WaitClock, NeverRunsBackwards) {
  const WaitClock::TimePoint begin{100s};
  WaitClock clock;
  clock.begin(begin);
  EXPECT_EQ(clock.total(begin - 1s), 0s);
  clock.end(begin - 1s);
  EXPECT_EQ(clock.total(begin), 0s);
}

}  // namespace
}  // namespace vhdxm::transfer
