// When passes over a disk in use go on, when writes are held, and when it is said that it cannot
// be.
#include "transfer/convergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/support/random_seed.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using Step = Convergence::Step;
using Duration = Convergence::Duration;
using TimePoint = Convergence::TimePoint;

constexpr std::uint64_t kMiB = 1024 * 1024;
const TimePoint kBegin{std::chrono::hours(1)};

Convergence::Pass pass_of(std::uint64_t sent, Duration copying, std::uint64_t dirty,
                          TimePoint ended) {
  return {.sent_bytes = sent,
          .copying = copying,
          .agreeing = 2ms,
          .sync = 1ms,
          .dirty_bytes = dirty,
          .marked_bytes = dirty,
          .ended = ended};
}

TEST(Convergence, HoldsWhenWhatIsLeftFitsThePause) {
  Convergence one({.max_pause = 100ms}, kBegin);
  // 100 MiB a second: 20 MiB take 200 ms, 5 MiB take 50.
  EXPECT_EQ(one.on_pass(pass_of(100 * kMiB, 1s, 20 * kMiB, kBegin + 1s)), Step::kPass);
  EXPECT_NEAR(one.copy_rate(), 100.0 * kMiB, 1.0 * kMiB);
  EXPECT_GT(*one.predicted_pause(), 200ms);
  EXPECT_EQ(one.on_pass(pass_of(20 * kMiB, 200ms, 5 * kMiB, kBegin + 1200ms)), Step::kHold);
  EXPECT_LT(*one.predicted_pause(), 60ms);
}

TEST(Convergence, CountsSyncAndRoundTripsIn) {
  Convergence one({.max_pause = 100ms}, kBegin);
  Convergence::Pass pass = pass_of(100 * kMiB, 1s, 4096, kBegin + 1s);
  pass.agreeing = 80ms;
  pass.sync = 70ms;
  // Next to nothing is left, but making it durable, twice, is too long.
  EXPECT_EQ(one.on_pass(pass), Step::kPass);
  EXPECT_GE(*one.predicted_pause(), 160ms);
  one.set_max_pause(200ms);
  pass.ended += 1s;
  EXPECT_EQ(one.on_pass(pass), Step::kHold);
}

TEST(Convergence, RestsUntilItIsAskedToHandOver) {
  Convergence one({.max_pause = 100ms, .hold_when_ready = false}, kBegin);
  for (int i = 1; i < 100; ++i) {
    EXPECT_EQ(one.on_pass(pass_of(kMiB, 10ms, 4096, kBegin + i * 1s)), Step::kRest);
  }
  one.allow_hold();
  EXPECT_EQ(one.on_pass(pass_of(kMiB, 10ms, 4096, kBegin + 100s)), Step::kHold);
}

TEST(Convergence, AStallSlowsGuestsDownInHalvesAndThenGivesUp) {
  Convergence one({.max_pause = 10ms, .stall = 10s, .throttle_steps_max = 3}, kBegin);
  std::vector<std::pair<int, std::uint64_t>> throttled;
  int gave_up_at = 0;
  for (int second = 1; second < 200 && gave_up_at == 0; ++second) {
    // It never gets better: each pass a second long, with as much dirty at its end.
    const auto step = one.on_pass(pass_of(100 * kMiB, 1s, 100 * kMiB, kBegin + second * 1s));
    if (step == Step::kThrottle) throttled.emplace_back(second, one.throttle_bytes_per_second());
    if (step == Step::kGiveUp) gave_up_at = second;
    EXPECT_NE(step, Step::kHold);
  }
  ASSERT_EQ(throttled.size(), 3U);
  EXPECT_EQ(throttled[0].first, 11) << "ten seconds after the best pass";
  EXPECT_EQ(throttled[0].second, 50 * kMiB);
  EXPECT_EQ(throttled[1].second, 25 * kMiB);
  EXPECT_EQ(throttled[2].second, 25 * kMiB / 2);
  EXPECT_EQ(gave_up_at, 41);
}

TEST(Convergence, FourPercentInTenSecondsIsNoStall) {
  for (const double factor : {0.95, 0.97}) {
    Convergence one({.max_pause = 1ms}, kBegin);
    double dirty = 400.0 * kMiB;
    TimePoint now = kBegin;
    int steps = 0;
    bool stalled = false;
    for (; steps < 40 && !stalled; ++steps) {
      now += 11s;  // each pass comes after the time that the one before had
      stalled = one.on_pass(pass_of(100 * kMiB, 1s, static_cast<std::uint64_t>(dirty), now)) ==
                Step::kThrottle;
      dirty *= factor;
    }
    EXPECT_EQ(stalled, factor > 0.96) << factor;
  }
}

TEST(Convergence, HoldsThatComeToNothingAreCounted) {
  Convergence one({.max_pause = 100ms, .holds_max = 3}, kBegin);
  TimePoint now = kBegin;
  const auto good_pass = [&] { return one.on_pass(pass_of(kMiB, 10ms, 4096, now += 1s)); };
  EXPECT_EQ(good_pass(), Step::kHold);
  EXPECT_EQ(one.on_hold_failed(100ms, now += 100ms), Step::kPass);
  EXPECT_GT(*one.predicted_pause(), 0ms);
  (void)good_pass();
  EXPECT_GT(*one.predicted_pause(), 40ms) << "what the last one took is reckoned with";
  EXPECT_EQ(one.on_hold_failed(100ms, now += 100ms), Step::kPass);
  EXPECT_EQ(one.on_hold_failed(100ms, now += 100ms), Step::kGiveUp);
}

/// A guest, a link and a destination, as rates.
struct World {
  double write_rate = 0;   ///< Bytes a second that the guest writes.
  double working_set = 0;  ///< Bytes that it writes to.
  double link_rate = 0;    ///< Bytes a second.
  double sync_s = 0;
  double round_trip_s = 0;

  /// What becomes dirty in so many seconds: pages are hit again and again.
  double dirtied(double seconds, double throttle) const {
    const double rate = throttle > 0 ? std::min(throttle, write_rate) : write_rate;
    return working_set * (1 - std::exp(-rate * seconds / working_set));
  }
};

// Whatever the rates: it ends, in bounded time; it holds only when that then fits, near enough; and
// where it can end well it does.
TEST(Convergence, ASimulationOfManyGuests) {
  const std::uint64_t seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  const auto between = [&random](double low, double high) {
    const double share = std::uniform_real_distribution<double>(0, 1)(random);
    return low * std::pow(high / low, share);
  };
  unsigned held = 0;
  unsigned gave_up = 0;
  for (int run = 0; run < 2000; ++run) {
    const World world{.write_rate = between(1e4, 2e9),
                      .working_set = between(1e6, 1e11),
                      .link_rate = between(1e6, 3e9),
                      .sync_s = between(1e-4, 0.2),
                      .round_trip_s = between(1e-4, 0.2)};
    const double max_pause_s = between(0.005, 5);
    const auto time = [](double s) {
      return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
    };
    SCOPED_TRACE(run);
    Convergence one({.max_pause = time(max_pause_s)}, kBegin);
    const double disk = between(1e8, 1e12);
    double now_s = 0;
    double left = disk;
    double throttle = 0;
    Step step = Step::kPass;
    unsigned passes = 0;
    while (step != Step::kHold && step != Step::kGiveUp) {
      const double copying = left / world.link_rate + world.round_trip_s;
      const double agreeing = world.sync_s + world.round_trip_s;
      const double took = copying + agreeing;
      const double dirty = world.dirtied(took, throttle);
      now_s += took;
      step = one.on_pass({.sent_bytes = static_cast<std::uint64_t>(left),
                          .copying = time(copying),
                          .agreeing = time(agreeing),
                          .sync = time(world.sync_s),
                          .dirty_bytes = static_cast<std::uint64_t>(dirty),
                          .marked_bytes = static_cast<std::uint64_t>(dirty),
                          .ended = kBegin + time(now_s)});
      if (step == Step::kThrottle) throttle = static_cast<double>(one.throttle_bytes_per_second());
      left = dirty;
      ++passes;
      ASSERT_LT(passes, 100'000U) << "it does not end";
    }
    const double pause =
        left / world.link_rate + world.round_trip_s + 2 * (world.sync_s + world.round_trip_s);
    const double least = 3 * world.round_trip_s + 2 * world.sync_s;
    if (step == Step::kHold) {
      ++held;
      // Moving averages may be half a pass behind.
      EXPECT_LE(pause, 2 * max_pause_s) << "writes would wait far longer than was promised";
    } else {
      ++gave_up;
      EXPECT_GT(throttle, 0) << "nothing was tried";
    }
    // An idle guest behind any link that is fast enough must get across.
    if (world.write_rate < world.link_rate / 20 && least < max_pause_s / 4 &&
        world.write_rate * (least + 0.01) / world.link_rate < max_pause_s / 8) {
      EXPECT_EQ(step, Step::kHold);
    }
  }
  EXPECT_GT(held, 200U);
  EXPECT_GT(gave_up, 100U);
}

}  // namespace
}  // namespace vhdxm::transfer
