// Whether streams, credit and windows fill a link with length. No sockets, no time: see
// long_link.h.
#include "tests/transfer/long_link.h"

#include <gtest/gtest.h>

#include "tests/support/random_seed.h"
#include "transfer/memory_budget.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr double kGigabit = 1e9 / 8;
// What Linux lets a connection grow to by itself (tcp_wmem: 4 MiB; of tcp_rmem's 6 MiB half may be
// the kernel's own overhead).
constexpr std::uint64_t kUntunedWindow = 3 * kMiB;
const std::uint64_t kDefaultCredit = credit_for(64 * kMiB);

TEST(LongLink, OneGigabitIsFilledByFourUntunedStreams) {
  for (const double round_trip : {0.0, 0.01, 0.05, 0.09}) {
    const auto outcome = LongLink({.rate = kGigabit,
                                   .round_trip = round_trip,
                                   .streams = 4,
                                   .credit = kDefaultCredit,
                                   .window = kUntunedWindow})
                             .run();
    EXPECT_GE(outcome.share_of_rate, 0.9) << round_trip;
  }
}

TEST(LongLink, OneGigabitAtTwoHundredMillisecondsTakesSixteenUntunedStreams) {
  const LongLink::Setting setting{.rate = kGigabit,
                                  .round_trip = 0.2,
                                  .streams = 16,
                                  .credit = kDefaultCredit,
                                  .window = kUntunedWindow};
  EXPECT_GE(LongLink(setting).run().share_of_rate, 0.9);
  LongLink::Setting four = setting;
  four.streams = 4;
  EXPECT_LE(LongLink(four).run().share_of_rate, 0.55) << "4 x 3 MiB of 25 MB";
}

TEST(LongLink, TenGigabitAtOneHundredMillisecondsIsFilledWithTheDefaultCredit) {
  const auto outcome = LongLink({.rate = 10 * kGigabit,
                                 .round_trip = 0.1,
                                 .streams = 16,
                                 .credit = kDefaultCredit,
                                 .window = 16 * kMiB})
                           .run();
  EXPECT_GE(outcome.share_of_rate, 0.9);
  EXPECT_LE(outcome.high_water.credit_bytes, kDefaultCredit);
}

TEST(LongLink, CreditOfAQuarterOfTheLinkIsAQuarterOfTheRate) {
  const auto outcome = LongLink({.rate = 10 * kGigabit,
                                 .round_trip = 0.1,
                                 .streams = 16,
                                 .credit = 32 * kMiB,
                                 .window = 16 * kMiB})
                           .run();
  EXPECT_LE(outcome.share_of_rate, 0.28) << "the model knows what credit is for";
  EXPECT_GE(outcome.share_of_rate, 0.15);
}

TEST(LongLink, TwentyFiveGigabitTakeFourTimesTheMemory) {
  const auto outcome = LongLink({.rate = 25 * kGigabit,
                                 .round_trip = 0.1,
                                 .streams = 16,
                                 .credit = credit_for(256 * kMiB),
                                 .window = 32 * kMiB,
                                 .seconds = 3})
                           .run();
  EXPECT_GE(outcome.share_of_rate, 0.9);
}

TEST(LongLink, AStreamThatWaitsForALossIsMadeUpForByTheOthers) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  for (std::uint64_t i = 0; i < 8; ++i) {
    // One loss in 64 MiB: two a second at 1 Gbit/s.
    const auto outcome = LongLink({.rate = kGigabit,
                                   .round_trip = 0.1,
                                   .streams = 8,
                                   .credit = kDefaultCredit,
                                   .window = kUntunedWindow,
                                   .loss = 1.0 / 1024,
                                   .seed = seed + i,
                                   .seconds = 6})
                             .run();
    EXPECT_GE(outcome.share_of_rate, 0.9);
  }
}

TEST(LongLink, ASlowDestinationHoldsBackTheSenderByCredit) {
  const auto outcome = LongLink({.rate = 10 * kGigabit,
                                 .round_trip = 0.01,
                                 .streams = 4,
                                 .credit = kDefaultCredit,
                                 .window = 256 * kMiB,
                                 .write_rate = 10e6})
                           .run();
  EXPECT_LE(outcome.high_water.credit_bytes, kDefaultCredit);
  EXPECT_LE(outcome.high_water.frames, kDefaultCredit / kMiB);
  EXPECT_LE(outcome.share_of_rate, 0.05);
}

}  // namespace
}  // namespace vhdxm::transfer
