#include "compression/link_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/support/random_seed.h"

namespace vhdxm::compression {
namespace {

constexpr double kGigabit = 1e9 / 8;
constexpr double kGigabyte = 1e9;

/// Costs as they were measured on a disk of files; seconds per byte.
const std::vector<LevelCost> kRows = {
    {.level = kLevelPlain, .ratio = 1},
    {.level = -5, .ratio = 0.70, .compress_s_per_byte = 1.4e-9, .decompress_s_per_byte = 0.5e-9},
    {.level = 1, .ratio = 0.40, .compress_s_per_byte = 2.4e-9, .decompress_s_per_byte = 0.8e-9},
    {.level = 2, .ratio = 0.41, .compress_s_per_byte = 3.0e-9, .decompress_s_per_byte = 0.8e-9},
    {.level = 3, .ratio = 0.37, .compress_s_per_byte = 4.5e-9, .decompress_s_per_byte = 0.8e-9},
    {.level = 9, .ratio = 0.35, .compress_s_per_byte = 17e-9, .decompress_s_per_byte = 0.8e-9}};

/// Two hosts of four cores with fast disks and four streams.
Conditions usual() {
  Conditions conditions;
  conditions.sender = {.cores = 4, .s_per_raw_byte = 0.2e-9, .s_per_wire_byte = 0.4e-9};
  conditions.receiver = {.cores = 4, .s_per_raw_byte = 0.4e-9, .s_per_wire_byte = 0.5e-9};
  conditions.link_bytes_per_s = 10 * kGigabit;
  conditions.source_bytes_per_s = 5 * kGigabyte;
  conditions.destination_bytes_per_s = 5 * kGigabyte;
  conditions.streams = 4;
  conditions.raw_bytes = kGigabyte;
  return conditions;
}

TEST(LinkModel, PlainOverASlowLinkTakesTheLinksTime) {
  Conditions conditions = usual();
  conditions.link_bytes_per_s = kGigabit;
  conditions.latency_s = 0.5;
  const Prediction plain = LinkModel::predict(kRows[0], conditions);
  EXPECT_EQ(plain.limit, Limit::kLink);
  EXPECT_DOUBLE_EQ(plain.seconds, 8.5);
  EXPECT_DOUBLE_EQ(plain.bytes_per_second, kGigabit);
  EXPECT_DOUBLE_EQ(plain.wire_bytes, kGigabyte);
  EXPECT_DOUBLE_EQ(plain.sender_cpu_s, 0.6);
  EXPECT_DOUBLE_EQ(plain.receiver_cpu_s, 0.9);
}

TEST(LinkModel, TheDestinationSyncsWhenAllHasArrived) {
  Conditions conditions = usual();
  conditions.link_bytes_per_s = kGigabit;  // 8 s
  conditions.destination_bytes_per_s = kGigabyte / 2;
  conditions.unsynced_bytes = kGigabyte / 4;
  EXPECT_DOUBLE_EQ(LinkModel::predict(kRows[0], conditions).seconds, 8.5);
  conditions.unsynced_bytes = 8 * kGigabyte;  // never more than there is
  EXPECT_DOUBLE_EQ(LinkModel::predict(kRows[0], conditions).seconds, 10);
  // Where the disk is the limit, it has been writing all the time.
  conditions.destination_bytes_per_s = kGigabyte / 16;
  conditions.unsynced_bytes = kGigabyte / 4;
  const Prediction slow_disk = LinkModel::predict(kRows[0], conditions);
  EXPECT_EQ(slow_disk.limit, Limit::kDestinationDisk);
  EXPECT_DOUBLE_EQ(slow_disk.seconds, 16);
}

TEST(LinkModel, CompressionOverASlowLinkTakesTheRatiosTime) {
  Conditions conditions = usual();
  conditions.link_bytes_per_s = kGigabit;
  const Prediction level_1 = LinkModel::predict(kRows[2], conditions);
  EXPECT_EQ(level_1.limit, Limit::kLink);
  EXPECT_DOUBLE_EQ(level_1.seconds, 3.2);
  EXPECT_DOUBLE_EQ(level_1.wire_bytes, 0.4e9);
  EXPECT_DOUBLE_EQ(level_1.sender_cpu_s, 0.2 + 0.4 * 0.4 + 2.4);
  EXPECT_DOUBLE_EQ(level_1.receiver_cpu_s, 0.4 + 0.4 * 0.5 + 0.8);
}

TEST(LinkModel, NamesWhatLimits) {
  const LevelCost& level_1 = kRows[2];
  Conditions conditions = usual();
  conditions.link_bytes_per_s = Conditions::kNoLimit;
  EXPECT_EQ(LinkModel::predict(level_1, conditions).limit, Limit::kStreams);
  conditions.streams = 8;
  EXPECT_EQ(LinkModel::predict(level_1, conditions).limit, Limit::kSenderCpu);
  conditions.receiver.cores = 0.5;
  EXPECT_EQ(LinkModel::predict(level_1, conditions).limit, Limit::kReceiverCpu);
  conditions.destination_bytes_per_s = 1e8;
  EXPECT_EQ(LinkModel::predict(level_1, conditions).limit, Limit::kDestinationDisk);
  conditions.source_bytes_per_s = 0.9e8;
  EXPECT_EQ(LinkModel::predict(level_1, conditions).limit, Limit::kSourceDisk);
  conditions.link_bytes_per_s = 1e7;
  EXPECT_EQ(LinkModel::predict(level_1, conditions).limit, Limit::kLink);
}

TEST(LinkModel, AStreamDoesOneThingAfterTheOther) {
  Conditions conditions = usual();
  conditions.streams = 1;
  const Prediction one = LinkModel::predict(kRows[2], conditions);
  EXPECT_EQ(one.limit, Limit::kStreams);
  // Compression and all of 2.76 ns a byte, after 0.2 ns in which the disk reads it.
  EXPECT_NEAR(one.bytes_per_second, 1 / 2.96e-9, 1);
  conditions.receiver.s_per_raw_byte = 5e-9;  // now the other end of the stream is slower
  const Prediction slow = LinkModel::predict(kRows[2], conditions);
  EXPECT_EQ(slow.limit, Limit::kStreams);
  EXPECT_NEAR(slow.bytes_per_second, 1 / 6.2e-9, 1);
}

TEST(LinkModel, OneMachineHasItsCoresOnce) {
  Conditions conditions = usual();
  conditions.link_bytes_per_s = Conditions::kNoLimit;
  conditions.one_machine = true;
  conditions.sender.cores = 2;
  conditions.receiver.cores = 0;  // not looked at
  const Prediction plain = LinkModel::predict(kRows[0], conditions);
  EXPECT_NEAR(plain.bytes_per_second, 2 / 1.5e-9, 1);
  EXPECT_EQ(plain.limit, Limit::kReceiverCpu) << "which takes 0.9 of the 1.5 ns";
  EXPECT_EQ(LinkModel::predict(kRows[2], conditions).limit, Limit::kSenderCpu);
}

TEST(LinkModel, CompressionTakesNoMoreThanItsShareOfTheCores) {
  Conditions conditions = usual();
  conditions.link_bytes_per_s = kGigabit;
  const double unbounded = LinkModel::predict(kRows[2], conditions).bytes_per_second;
  conditions.codec_cores = 0.1;
  const Prediction bounded = LinkModel::predict(kRows[2], conditions);
  EXPECT_LT(bounded.bytes_per_second, unbounded);
  EXPECT_GT(bounded.bytes_per_second, kGigabit) << "what the share reaches for is compressed";
  // Of x extents compressed and the rest plain, over a link that is full: rate = L / (1 - 0.6 x),
  // and rate times 2.4e-9 x is the share.
  const double x = 0.1 / (2.4e-9 * kGigabit + 0.1 * 0.6);
  EXPECT_NEAR(bounded.bytes_per_second, kGigabit / (1 - 0.6 * x), 1e-6 * kGigabit);
  EXPECT_EQ(bounded.limit, Limit::kLink);
  conditions.codec_cores = 3;
  EXPECT_DOUBLE_EQ(LinkModel::predict(kRows[2], conditions).bytes_per_second, unbounded);
}

TEST(LinkModel, TheBestMixTakesNoMoreThanItsShareOfTheCores) {
  const LinkModel model(kRows);
  Conditions conditions = usual();
  conditions.link_bytes_per_s = kGigabit;
  for (const double share : {0.02, 0.1, 0.5, 1.0, 3.0}) {
    conditions.codec_cores = share;
    for (const Mix& mix : {model.best(conditions), model.at(model.best_position(conditions))}) {
      const double taken = model.cost(mix).compress_s_per_byte *
                           LinkModel::predict(model.cost(mix), conditions).bytes_per_second;
      EXPECT_LE(taken, share * 1.03) << "2 % is the tolerance of best()";
    }
  }
}

TEST(LinkModel, WithoutAnyLimitThereIsNone) {
  const Prediction free = LinkModel::predict(LevelCost{}, {.raw_bytes = 1e12, .latency_s = 0.25});
  EXPECT_EQ(free.limit, Limit::kNone);
  EXPECT_EQ(free.seconds, 0.25);
  EXPECT_TRUE(std::isinf(free.bytes_per_second));
}

TEST(LinkModel, AnInfiniteLinkIsBestServedPlain) {
  Conditions conditions = usual();
  conditions.link_bytes_per_s = Conditions::kNoLimit;
  const LinkModel model(kRows);
  EXPECT_EQ(model.cost(model.best(conditions)), kRows[0]);
  EXPECT_EQ(model.best_position(conditions), 0);
}

TEST(LinkModel, AVerySlowLinkIsBestServedByTheStrongestLevel) {
  Conditions conditions = usual();
  conditions.link_bytes_per_s = 1e6;
  const LinkModel model(kRows);
  const Mix exact = model.best(conditions, 0);
  EXPECT_EQ(model.cost(exact), kRows[5]);
  EXPECT_EQ(model.best_position(conditions, 0), model.position_max());
  // With a tolerance of 2 %, a little of it may go by a cheaper level.
  const Mix cheap = model.best(conditions);
  EXPECT_LT(model.predict(cheap, conditions).sender_cpu_s,
            model.predict(exact, conditions).sender_cpu_s);
  EXPECT_NEAR(model.predict(cheap, conditions).seconds / model.predict(exact, conditions).seconds,
              1.02, 1e-9);
}

TEST(LinkModel, InBetweenAPartIsCompressed) {
  // One core at the sender: level 1 on everything would make the CPU the limit.
  Conditions conditions = usual();
  conditions.sender.cores = 1;
  conditions.link_bytes_per_s = 4 * kGigabit;
  const LinkModel model(kRows);
  const Mix mix = model.best(conditions, 0);
  EXPECT_GT(mix.strong_share, 0.05);
  EXPECT_LT(mix.strong_share, 0.95);
  const double rate = model.predict(mix, conditions).bytes_per_second;
  for (const LevelCost& row : kRows) {
    EXPECT_GT(rate, 1.05 * LinkModel::predict(row, conditions).bytes_per_second) << row.level;
  }
}

TEST(LinkModel, OfEquallyFastWaysTheCheapestIsTaken) {
  Conditions conditions = usual();
  conditions.destination_bytes_per_s = 1e8;  // whatever one does
  const LinkModel model(kRows);
  EXPECT_EQ(model.cost(model.best(conditions)), kRows[0]);
}

TEST(LinkModel, TheLadderLeavesOutWhatAMixBeats) {
  const LinkModel model(kRows);
  std::vector<int> levels;
  for (const std::size_t row : model.ladder()) levels.push_back(kRows[row].level);
  EXPECT_EQ(levels, (std::vector<int>{kLevelPlain, 1, 3, 9}))
      << "level 2 is worse than level 1, and so is -5 than plain and 1 mixed";
  EXPECT_EQ(model.position_max(), 3);
}

TEST(LinkModel, PositionsMoveAlongTheLadderWithoutJumps) {
  const LinkModel model(kRows);
  const Conditions conditions = usual();
  EXPECT_EQ(model.cost(model.at(0)), kRows[0]);
  EXPECT_EQ(model.cost(model.at(3)), kRows[5]);
  EXPECT_EQ(model.cost(model.at(99)), kRows[5]);
  EXPECT_EQ(model.cost(model.at(-1)), kRows[0]);
  const Mix middle = model.at(1.25);
  EXPECT_EQ(kRows[middle.fast].level, 1);
  EXPECT_EQ(kRows[middle.strong].level, 3);
  EXPECT_DOUBLE_EQ(middle.strong_share, 0.25);
  double before = model.predict(model.at(0), conditions).wire_bytes;
  for (int hundredths = 1; hundredths <= 300; ++hundredths) {
    const double wire = model.predict(model.at(hundredths / 100.0), conditions).wire_bytes;
    EXPECT_LT(wire, before);
    EXPECT_LT(before - wire, 0.01 * kGigabyte);
    before = wire;
  }
}

TEST(LinkModel, ATableOfOneRowIsThatRow) {
  const LinkModel model(std::vector{kRows[2]});
  EXPECT_EQ(model.position_max(), 0);
  EXPECT_EQ(model.best_position(usual()), 0);
  EXPECT_EQ(model.cost(model.at(0.5)), kRows[2]);
  EXPECT_EQ(model.cost(model.best(usual())), kRows[2]);
}

/// Draws tables and conditions in which anything may be the limit.
class RandomCase {
 public:
  explicit RandomCase(std::mt19937_64& random) : random_(random) {
    rows = {LevelCost{}};
    for (std::uint64_t n = random_() % 8; n > 0; --n) {
      rows.push_back({.level = static_cast<int>(n),
                      .ratio = between(0.01, 1.02),
                      .compress_s_per_byte = scaled(1e-10, 1e-7),
                      .decompress_s_per_byte = scaled(1e-10, 1e-8)});
    }
    conditions.sender = host();
    conditions.receiver = host();
    conditions.one_machine = random_() % 4 == 0;
    conditions.link_bytes_per_s = random_() % 8 == 0 ? Conditions::kNoLimit : scaled(1e6, 1e10);
    conditions.source_bytes_per_s = scaled(5e7, 1e10);
    conditions.destination_bytes_per_s = scaled(5e7, 1e10);
    conditions.streams = static_cast<double>(1 + random_() % 8);
    conditions.raw_bytes = 1e9;
  }

  std::vector<LevelCost> rows;
  Conditions conditions;

 private:
  double between(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random_);
  }
  double scaled(double low, double high) {
    return std::exp(between(std::log(low), std::log(high)));
  }
  HostCost host() {
    return {.cores = scaled(0.1, 16),
            .s_per_raw_byte = scaled(1e-11, 1e-8),
            .s_per_wire_byte = scaled(1e-11, 1e-8)};
  }

  std::mt19937_64& random_;
};

double rate_of(const LinkModel& model, const Mix& mix, const Conditions& conditions) {
  return model.predict(mix, conditions).bytes_per_second;
}

TEST(LinkModel, NoMixOnAGridIsFasterThanTheBest) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 500; ++round) {
    const RandomCase made(random);
    const LinkModel model(made.rows);
    const double best = rate_of(model, model.best(made.conditions, 0), made.conditions);
    double on_grid = 0;
    for (std::size_t a = 0; a < made.rows.size(); ++a) {
      for (std::size_t b = a; b < made.rows.size(); ++b) {
        for (int i = 0; i <= 50; ++i) {
          const Mix mix{.fast = a, .strong = b, .strong_share = i / 50.0};
          on_grid = std::max(on_grid, rate_of(model, mix, made.conditions));
        }
      }
    }
    ASSERT_GE(best, on_grid * (1 - 1e-9)) << "round " << round;
    ASSERT_LE(best, on_grid * 1.1) << "round " << round;
  }
}

TEST(LinkModel, WithinTheToleranceNoMixOnAGridTakesLessCpu) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 500; ++round) {
    const RandomCase made(random);
    const LinkModel model(made.rows);
    const auto cpu = [](const Prediction& p) { return p.sender_cpu_s + p.receiver_cpu_s; };
    const double fastest = rate_of(model, model.best(made.conditions, 0), made.conditions);
    const Mix chosen = model.best(made.conditions);
    ASSERT_GE(rate_of(model, chosen, made.conditions) * (1.02 + 1e-9), fastest);
    const double chosen_cpu = cpu(model.predict(chosen, made.conditions));
    for (std::size_t a = 0; a < made.rows.size(); ++a) {
      for (std::size_t b = a; b < made.rows.size(); ++b) {
        for (int i = 0; i <= 50; ++i) {
          const Mix mix{.fast = a, .strong = b, .strong_share = i / 50.0};
          const Prediction other = model.predict(mix, made.conditions);
          if (other.bytes_per_second * 1.02 < fastest) continue;
          ASSERT_GE(cpu(other), chosen_cpu * (1 - 1e-9)) << "round " << round;
        }
      }
    }
  }
}

// Where decompression is no limit, the ladder has the best of all mixes.
TEST(LinkModel, TheLadderHoldsTheBestMixOfSenderAndLink) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 500; ++round) {
    RandomCase made(random);
    for (LevelCost& row : made.rows) row.decompress_s_per_byte = 0;
    const LinkModel model(made.rows);
    const double best = rate_of(model, model.best(made.conditions, 0), made.conditions);
    const double position = model.best_position(made.conditions, 0);
    ASSERT_GE(position, 0);
    ASSERT_LE(position, model.position_max());
    ASSERT_NEAR(rate_of(model, model.at(position), made.conditions) / best, 1, 1e-9)
        << "round " << round;
    for (int i = 0; i <= 100; ++i) {
      const double other = model.position_max() * i / 100;
      ASSERT_LE(rate_of(model, model.at(other), made.conditions), best * (1 + 1e-9));
    }
  }
}

TEST(LinkModel, TheLimitNamedIsTheOneThatHelpsWhenItIsLifted) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 500; ++round) {
    const RandomCase made(random);
    for (const LevelCost& row : made.rows) {
      const Prediction before = LinkModel::predict(row, made.conditions);
      Conditions lifted = made.conditions;
      switch (before.limit) {
        case Limit::kLink:
          lifted.link_bytes_per_s *= 1.01;
          break;
        case Limit::kSenderCpu:
          lifted.sender.cores *= 1.01;
          break;
        case Limit::kReceiverCpu:
          (lifted.one_machine ? lifted.sender : lifted.receiver).cores *= 1.01;
          break;
        case Limit::kSourceDisk:
          lifted.source_bytes_per_s *= 1.01;
          break;
        case Limit::kDestinationDisk:
          lifted.destination_bytes_per_s *= 1.01;
          break;
        case Limit::kStreams:
          lifted.streams *= 1.01;
          break;
        case Limit::kNone:
          FAIL() << "there is always a limit here";
      }
      EXPECT_GT(LinkModel::predict(row, lifted).bytes_per_second, before.bytes_per_second)
          << to_string(before.limit) << ", round " << round;
    }
  }
}

TEST(LinkModel, LimitsHaveNames) {
  EXPECT_EQ(to_string(Limit::kLink), "link");
  EXPECT_EQ(to_string(Limit::kStreams), "streams");
  EXPECT_EQ(to_string(static_cast<Limit>(99)), "unknown");
}

}  // namespace
}  // namespace vhdxm::compression
