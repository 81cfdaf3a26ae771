// On a clock that the test moves.
#include "transfer/stall_watch.h"

#include <gtest/gtest.h>

#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using TimePoint = StallWatch::TimePoint;

constexpr Awaited kWelcomeAwaited{.what = "Welcome"};
constexpr Awaited kReplyAwaited{.what = "OfferReply"};

TEST(StallWatch, WhatIsOwedForLongerThanTheStallIsNamed) {
  StallWatch watch(60s);
  const TimePoint start(1000s);
  EXPECT_FALSE(watch.look(kWelcomeAwaited, 7, start));
  EXPECT_FALSE(watch.look(kWelcomeAwaited, 7, start + 60s));
  const auto error = watch.look(kWelcomeAwaited, 7, start + 60s + 1ms);
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, Errc::kTimeout);
  EXPECT_STREQ(error->where, "Welcome");
  EXPECT_EQ(stalled_text(Error(*error).about("host:6600")),
            "host:6600 is alive, but the job does not get on. Awaited from it: Welcome.");
}

TEST(StallWatch, MovementAnotherStepAndOwnWorkStartTheClockAnew) {
  StallWatch watch(60s);
  TimePoint now(1000s);
  std::uint64_t movement = 0;
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(watch.look(kWelcomeAwaited, ++movement, now += 59s));
    EXPECT_FALSE(watch.look(kReplyAwaited, movement, now += 59s));
    EXPECT_FALSE(watch.look({}, movement, now += 1000s));
    EXPECT_FALSE(watch.look(kReplyAwaited, movement, now += 1000s));
  }
  EXPECT_TRUE(watch.look(kReplyAwaited, movement, now + 61s));
}

TEST(StallWatch, WorkOnADiskHasASecondForEachFourMebibytes) {
  const auto gib = std::uint64_t{1} << 30;
  EXPECT_EQ(StallWatch::patience(60s, 0), 60s);
  EXPECT_NEAR(static_cast<double>(StallWatch::patience(60s, gib).count()), 60e3 + 256e3, 100);
  EXPECT_GT(StallWatch::patience(60s, ~std::uint64_t{0}), 0s) << "it does not wrap";
  StallWatch watch(60s);
  const Awaited awaited{.what = "VerifySame", .work_bytes = gib};
  const TimePoint start(1000s);
  EXPECT_FALSE(watch.look(awaited, 0, start));
  EXPECT_FALSE(watch.look(awaited, 0, start + 310s));
  EXPECT_TRUE(watch.look(awaited, 0, start + 320s));
}

}  // namespace
}  // namespace vhdxm::transfer
