#include "transfer/rate_limiter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "tests/support/random_seed.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using Duration = RateLimiter::Duration;
using TimePoint = RateLimiter::TimePoint;

constexpr std::uint64_t kMiB = 1024 * 1024;
const TimePoint kStart = TimePoint(1000s);

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

TEST(RateLimiter, NoLimitMeansNoWait) {
  RateLimiter limiter(0);
  EXPECT_EQ(limiter.rate(), 0u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(limiter.take(1000 * kMiB, kStart), Duration::zero());
}

TEST(RateLimiter, BurstIsFreeAndTheRestIsPaidFor) {
  RateLimiter limiter(100 * kMiB);  // The burst is 5 MiB.
  EXPECT_EQ(limiter.take(5 * kMiB, kStart), Duration::zero());
  EXPECT_NEAR(seconds(limiter.take(10 * kMiB, kStart)), 0.1, 1e-6);
  EXPECT_NEAR(seconds(limiter.take(10 * kMiB, kStart)), 0.2, 1e-6) << "served in order";
}

TEST(RateLimiter, SlowRatesMayStillSendSixtyFourKibibytesAtOnce) {
  RateLimiter limiter(1024);
  EXPECT_EQ(limiter.take(64 * 1024, kStart), Duration::zero());
  EXPECT_NEAR(seconds(limiter.take(1024, kStart)), 1.0, 1e-6);
}

TEST(RateLimiter, IdleTimeIsWorthNoMoreThanABurst) {
  RateLimiter limiter(100 * kMiB);
  static_cast<void>(limiter.take(5 * kMiB, kStart));
  const TimePoint later = kStart + 3600s;
  EXPECT_EQ(limiter.take(5 * kMiB, later), Duration::zero());
  EXPECT_GT(limiter.take(kMiB, later), Duration::zero());
}

TEST(RateLimiter, RateIsKeptOverManyStreams) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  constexpr std::uint64_t kRate = 37 * kMiB;
  RateLimiter limiter(kRate);
  std::vector<TimePoint> free_at(4, kStart);  // When each stream may ask again.
  std::uint64_t bytes = 0;
  TimePoint now = kStart;
  while (now < kStart + 60s) {
    const auto next = std::min_element(free_at.begin(), free_at.end());
    now = std::max(now, *next);
    const std::uint64_t size = 64 + random() % kMiB;
    *next = now + limiter.take(size, now);
    // What was sent by a time never exceeds rate x time and the burst.
    bytes += size;
    const double paid_until = seconds(*next - kStart);
    ASSERT_LE(static_cast<double>(bytes), kRate * (paid_until + 0.05) + 1.0);
  }
  EXPECT_GE(static_cast<double>(bytes), kRate * 59.9) << "and it is used";
}

TEST(RateLimiter, EqualStreamsGetEqualShares) {
  RateLimiter limiter(10 * kMiB);
  std::vector<TimePoint> free_at(5, kStart);
  std::vector<int> turns(5, 0);
  for (int step = 0; step < 1000; ++step) {
    const auto next = std::min_element(free_at.begin(), free_at.end());
    const auto stream = static_cast<std::size_t>(next - free_at.begin());
    const TimePoint now = *next;
    *next = now + limiter.take(kMiB, now);
    ++turns[stream];
  }
  EXPECT_LE(
      *std::max_element(turns.begin(), turns.end()) - *std::min_element(turns.begin(), turns.end()),
      2);
}

TEST(RateLimiter, NewRateHoldsForWhatIsOwed) {
  RateLimiter limiter(kMiB);
  static_cast<void>(limiter.take(64 * 1024, kStart));
  EXPECT_NEAR(seconds(limiter.take(10 * kMiB, kStart)), 10.0, 0.1);
  limiter.set_rate(10 * kMiB, kStart);
  EXPECT_EQ(limiter.rate(), 10 * kMiB);
  EXPECT_NEAR(seconds(limiter.take(kMiB, kStart)), 1.1, 0.1);
  limiter.set_rate(0, kStart);
  EXPECT_EQ(limiter.take(kMiB, kStart), Duration::zero());
  limiter.set_rate(kMiB, kStart);
  EXPECT_LE(limiter.take(64 * 1024, kStart), 100ms) << "no debt from the time before";
}

TEST(RateLimiter, ExtremeNumbersDoNotWrap) {
  constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
  RateLimiter slow(1);
  for (int i = 0; i < 100; ++i) {
    const Duration wait = slow.take(kHuge, kStart);
    EXPECT_GE(wait, Duration::zero());
    EXPECT_LE(wait, 24h);
  }
  RateLimiter fast(kHuge);
  for (int i = 0; i < 100; ++i) EXPECT_LE(fast.take(4 * kMiB, kStart), 1ms);
  fast.set_rate(1, kStart);
  EXPECT_LE(fast.take(kHuge, kStart), 24h);
  RateLimiter early(kMiB);
  EXPECT_GE(early.take(kMiB, TimePoint{}), Duration::zero()) << "a clock that begins at zero";
}

}  // namespace
}  // namespace vhdxm::transfer
