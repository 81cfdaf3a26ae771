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
  Convergence one({.max_pause = 10ms,
                   .stall = 10s,
                   .throttle_steps_max = 3,
                   .hopeless = 1h,
                   .mirror = Convergence::Mirror::kNever},
                  kBegin);
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

// Passes of a second each, in which a guest dirties as much as can be copied, and more.
TEST(Convergence, WhereItCanBeForeseenTheStallIsNotWaitedFor) {
  Convergence one({.max_pause = 20ms, .throttle_steps_max = 2}, kBegin);
  EXPECT_EQ(one.on_pass(pass_of(100 * kMiB, 1s, 110 * kMiB, kBegin + 1s)), Step::kPass);
  EXPECT_EQ(one.on_pass(pass_of(110 * kMiB, 1s, 120 * kMiB, kBegin + 2s)), Step::kPass);
  EXPECT_EQ(one.on_pass(pass_of(120 * kMiB, 1s, 130 * kMiB, kBegin + 3s)), Step::kThrottle);
  // Half of it does not do; each means has its time, and no longer.
  TimePoint now = kBegin + 3s;
  std::vector<Step> steps;
  for (int pass = 0; pass < 40; ++pass) {
    Convergence::Pass next = pass_of(3 * kMiB, 30ms, 3 * kMiB, now += 40ms);
    steps.push_back(one.on_pass(next));
    if (steps.back() != Step::kPass) break;
  }
  EXPECT_EQ(steps.back(), Step::kThrottle);
  EXPECT_GE(steps.size(), 25U) << "a second at least";
}

// All that a guest writes to is dirty again after each pass: its rate seems to be less than what
// can be copied, however fast it writes.
TEST(Convergence, ASetThatIsDirtyAgainAfterEachPassIsForeseenToo) {
  Convergence one({.max_pause = 300ms}, kBegin);
  TimePoint now = kBegin;
  Step step = Step::kPass;
  unsigned passes = 0;
  for (; step == Step::kPass && passes < 20; ++passes) {
    step = one.on_pass(pass_of(16 * kMiB, 1s, 16 * kMiB, now += 1020ms));
  }
  EXPECT_EQ(step, Step::kThrottle);
  EXPECT_EQ(passes, 3U);
}

TEST(Convergence, WhatConvergesByItselfKeepsItsSpeed) {
  // Four fifths of what can be copied is dirtied: each pass is shorter than the one before.
  Convergence one({.max_pause = 50ms}, kBegin);
  double left_s = 20;  // what a pass copies, in seconds of copying
  double now_s = 0;
  Step step = Step::kPass;
  const auto time = [](double s) {
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
  };
  while (step == Step::kPass) {
    now_s += left_s + 0.002;
    const double dirty_s = 0.8 * (left_s + 0.002);
    step = one.on_pass(pass_of(static_cast<std::uint64_t>(left_s * 1e8), time(left_s),
                               static_cast<std::uint64_t>(dirty_s * 1e8), kBegin + time(now_s)));
    left_s = dirty_s;
  }
  EXPECT_EQ(step, Step::kHold);
}

TEST(Convergence, ABurstIsNotTakenForHopeless) {
  Convergence one({.max_pause = 20ms}, kBegin);
  TimePoint now = kBegin;
  (void)one.on_pass(pass_of(100 * kMiB, 1s, 4 * kMiB, now += 1s));
  for (int pass = 0; pass < 20; ++pass) {
    EXPECT_EQ(one.on_pass(pass_of(4 * kMiB, 40ms, 4 * kMiB, now += 42ms)), Step::kPass);
  }
  EXPECT_EQ(one.on_pass(pass_of(4 * kMiB, 40ms, 4096, now += 42ms)), Step::kHold);
}

TEST(Convergence, WhereTheOtherSideIsTooSlowGuestsAreNotBlamedForIt) {
  // Making nothing durable takes longer than writes may wait.
  Convergence one({.max_pause = 10ms}, kBegin);
  for (int second = 1; second < 10; ++second) {
    Convergence::Pass pass = pass_of(100 * kMiB, 900ms, 100 * kMiB, kBegin + second * 1s);
    pass.agreeing = 50ms;
    pass.sync = 50ms;
    EXPECT_EQ(one.on_pass(pass), Step::kPass) << second;
  }
}

TEST(Convergence, MirroredWritesAreTheLastMeans) {
  using Mirror = Convergence::Mirror;
  const auto climb = [](Convergence& one, TimePoint& now) {
    for (;;) {
      const Step step = one.on_pass(pass_of(100 * kMiB, 1s, 200 * kMiB, now += 2s));
      if (step != Step::kPass) return step;
    }
  };
  for (const Mirror mirror : {Mirror::kAuto, Mirror::kNever}) {
    Convergence one({.max_pause = 10ms, .throttle_steps_max = 2, .mirror = mirror}, kBegin);
    TimePoint now = kBegin;
    EXPECT_EQ(climb(one, now), Step::kThrottle);
    EXPECT_EQ(climb(one, now), Step::kThrottle);
    EXPECT_FALSE(one.mirrors());
    const std::uint64_t slowest = one.throttle_bytes_per_second();
    EXPECT_GT(slowest, 0U);
    if (mirror == Mirror::kNever) {
      EXPECT_EQ(climb(one, now), Step::kGiveUp);
      continue;
    }
    EXPECT_EQ(climb(one, now), Step::kMirror);
    EXPECT_TRUE(one.mirrors());
    EXPECT_EQ(one.throttle_bytes_per_second(), 0U) << "mirroring slows them down as is right";
    // The other side does not answer: as before; and then again.
    one.on_mirror_stopped();
    EXPECT_FALSE(one.mirrors());
    EXPECT_EQ(one.throttle_bytes_per_second(), slowest);
    EXPECT_EQ(climb(one, now), Step::kMirror);
    // It has its time to show what it does, however long its first pass is.
    const TimePoint before = now;
    EXPECT_EQ(climb(one, now), Step::kGiveUp);
    EXPECT_GE(now - before, 8s);
  }
}

TEST(Convergence, MirroringIsBegunAgainOnlySoOften) {
  Convergence one({.max_pause = 10ms, .throttle_steps_max = 0, .mirror_starts_max = 3}, kBegin);
  TimePoint now = kBegin;
  unsigned started = 0;
  Step step = Step::kPass;
  for (int pass = 0; pass < 1000 && step != Step::kGiveUp; ++pass) {
    step = one.on_pass(pass_of(100 * kMiB, 1s, 200 * kMiB, now += 2s));
    if (step != Step::kMirror) continue;
    ++started;
    one.on_mirror_stopped();
  }
  EXPECT_EQ(step, Step::kGiveUp);
  EXPECT_EQ(started, 3U);
}

TEST(Convergence, MirroredFromTheBeginningIfThatIsAskedFor) {
  Convergence one({.max_pause = 10ms, .mirror = Convergence::Mirror::kAlways}, kBegin);
  EXPECT_TRUE(one.mirrors());
  EXPECT_EQ(one.on_pass(pass_of(100 * kMiB, 1s, 200 * kMiB, kBegin + 1s)), Step::kPass);
  EXPECT_EQ(one.on_pass(pass_of(200 * kMiB, 2s, 64 * 1024, kBegin + 3s)), Step::kHold);
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

// What is left fits, but for what the last hold took beyond that: it is tried again, and not at
// once.
TEST(Convergence, AHoldThatFailedIsTriedAgain) {
  Convergence one({.max_pause = 900ms, .mirror = Convergence::Mirror::kAlways}, kBegin);
  TimePoint now = kBegin;
  // 4 MiB a second, and always 2.5 MiB dirty: 625 ms.
  const auto pass = [&] { return one.on_pass(pass_of(4 * kMiB, 1s, 5 * kMiB / 2, now += 1s)); };
  EXPECT_EQ(pass(), Step::kHold);
  for (int hold = 1; hold < 8; ++hold) {
    EXPECT_EQ(one.on_hold_failed(950ms, now += 950ms), Step::kPass);
    int passes = 1;
    while (pass() == Step::kPass) ASSERT_LT(++passes, 10) << "after hold " << hold;
    EXPECT_LE(*one.predicted_pause(), 900ms);
  }
  EXPECT_EQ(one.on_hold_failed(950ms, now += 950ms), Step::kGiveUp);
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
  unsigned mirrored = 0;
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
    const bool may_mirror = run % 2 == 0;
    Convergence one(
        {.max_pause = time(max_pause_s),
         .mirror = may_mirror ? Convergence::Mirror::kAuto : Convergence::Mirror::kNever},
        kBegin);
    // What a guest writes at a time, and waits for when it is mirrored.
    const double in_hand = between(4096, 4e6);
    const double disk = between(1e8, 1e12);
    double now_s = 0;
    double left = disk;
    double throttle = 0;
    Step step = Step::kPass;
    unsigned passes = 0;
    while (step != Step::kHold && step != Step::kGiveUp) {
      // Half of the link is for mirrored writes then.
      const double share = one.mirrors() ? 2 : 1;
      const double copying = share * left / world.link_rate + world.round_trip_s;
      const double agreeing = world.sync_s + world.round_trip_s;
      const double took = copying + agreeing;
      const double dirty =
          one.mirrors() ? std::min(in_hand, world.working_set) : world.dirtied(took, throttle);
      now_s += took;
      step = one.on_pass({.sent_bytes = static_cast<std::uint64_t>(share * left),
                          .copying = time(copying),
                          .agreeing = time(agreeing),
                          .sync = time(world.sync_s),
                          .dirty_bytes = static_cast<std::uint64_t>(dirty),
                          .marked_bytes = static_cast<std::uint64_t>(dirty),
                          .ended = kBegin + time(now_s)});
      if (step == Step::kMirror) throttle = 0;
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
      EXPECT_GT(one.mirrors() ? 1 : throttle, 0) << "nothing was tried";
      EXPECT_EQ(one.mirrors(), may_mirror);
    }
    if (one.mirrors()) ++mirrored;
    // Mirrored, any guest gets across whose writes in hand fit the pause.
    if (may_mirror && least + in_hand / world.link_rate < max_pause_s / 4) {
      EXPECT_EQ(step, Step::kHold);
    }
    // An idle guest behind any link that is fast enough must get across.
    if (world.write_rate < world.link_rate / 20 && least < max_pause_s / 4 &&
        world.write_rate * (least + 0.01) / world.link_rate < max_pause_s / 8) {
      EXPECT_EQ(step, Step::kHold);
    }
  }
  EXPECT_GT(held, 200U);
  EXPECT_GT(gave_up, 100U);
  EXPECT_GT(mirrored, 50U);
}

}  // namespace
}  // namespace vhdxm::transfer
