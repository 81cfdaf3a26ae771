#include "compression/level_costs.h"

#include <gtest/gtest.h>

#include "compression/probe.h"
#include "tests/support/expect_error.h"
#include "tests/support/sample_data.h"

namespace vhdxm::compression {
namespace {

using test::sample_data;
using test::SampleKind;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kExtent = 256 << 10;
constexpr double kNoBudget = 1e9;

class LevelCostsTest : public testing::Test {
 protected:
  void add(SampleKind kind, std::uint64_t seed) {
    extents_.push_back(sample_data(kind, kExtent, seed));
  }
  LevelCosts measure(std::vector<int> levels, double cpu_budget_s = kNoBudget) {
    const std::vector<std::span<const std::byte>> samples(extents_.begin(), extents_.end());
    auto measured = measure_level_costs(samples, {.levels = levels, .cpu_budget_s = cpu_budget_s},
                                        compressor_, decompressor_, packed_, unpacked_);
    EXPECT_TRUE(test::succeeded(measured));
    return *measured;
  }
  /// Bytes on the wire of everything at a level, by hand.
  std::size_t wire_bytes(int level) {
    std::size_t sum = 0;
    for (const Bytes& extent : extents_) {
      std::size_t length = kExtent;
      if (probe(extent).worth_trying) {
        length = compressor_.compress(extent, level, packed_).value_or(kExtent);
        if (length > kExtent - kExtent / 16) length = kExtent;
      }
      sum += length;
    }
    return sum;
  }

  std::vector<Bytes> extents_;
  Compressor compressor_{kExtent, kLevelMax};
  Decompressor decompressor_;
  Bytes packed_ = Bytes(kExtent);
  Bytes unpacked_ = Bytes(kExtent);
};

TEST_F(LevelCostsTest, PlainComesFirstAndCostsNothing) {
  add(SampleKind::kText, 1);
  const LevelCosts costs = measure({1, -3, 6});
  ASSERT_EQ(costs.rows.size(), 4U);
  EXPECT_EQ(costs.rows[0], LevelCost{});
  EXPECT_EQ(costs.rows[1].level, 1);
  EXPECT_EQ(costs.rows[2].level, -3);
  EXPECT_EQ(costs.rows[3].level, 6);
}

TEST_F(LevelCostsTest, RatiosAreThoseOfTheMove) {
  for (const SampleKind kind : {SampleKind::kText, SampleKind::kRandom, SampleKind::kDatabase,
                                SampleKind::kMostlyZero, SampleKind::kEncrypted}) {
    add(kind, 2);
  }
  const std::vector<int> levels = {-5, 1, 3, 9};
  const LevelCosts costs = measure(levels);
  EXPECT_EQ(costs.sample_count, 5U);
  EXPECT_EQ(costs.sample_bytes, 5 * kExtent);
  EXPECT_EQ(costs.probed_no_bytes, 2 * kExtent);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    EXPECT_DOUBLE_EQ(costs.rows[i + 1].ratio,
                     static_cast<double>(wire_bytes(levels[i])) / (5 * kExtent));
    EXPECT_GT(costs.rows[i + 1].compress_s_per_byte, 0);
    EXPECT_GT(costs.rows[i + 1].decompress_s_per_byte, 0);
  }
  EXPECT_GT(costs.cpu_s, 0);
}

TEST_F(LevelCostsTest, WhatIsSentRawIsNotDecompressed) {
  add(SampleKind::kRandom, 3);
  const LevelCosts costs = measure({1});
  EXPECT_EQ(costs.rows[1].ratio, 1);
  EXPECT_EQ(costs.rows[1].decompress_s_per_byte, 0);
  EXPECT_GT(costs.rows[1].compress_s_per_byte, 0) << "the probe";
}

// The probe says yes to this one, and the codec cannot save a sixteenth.
TEST_F(LevelCostsTest, AGainOfLessThanASixteenthIsNone) {
  Bytes extent = sample_data(SampleKind::kRandom, kExtent, 4);
  for (auto& byte : extent) {
    if (byte >= std::byte{200}) byte &= std::byte{127};
  }
  extents_.push_back(extent);
  ASSERT_TRUE(probe(extent).worth_trying);
  ASSERT_GT(compressor_.compress(extent, 1, packed_).value(), worthwhile_bytes_max(kExtent));
  const LevelCosts costs = measure({1});
  EXPECT_EQ(costs.rows[1].ratio, 1);
  EXPECT_EQ(costs.rows[1].decompress_s_per_byte, 0);
  EXPECT_EQ(costs.probed_no_bytes, 0U);
}

TEST_F(LevelCostsTest, WithoutBudgetOneSampleIsMeasured) {
  for (std::uint64_t seed = 0; seed < 7; ++seed) add(SampleKind::kText, seed);
  const LevelCosts costs = measure({1, 3}, 0);
  EXPECT_EQ(costs.sample_count, 1U);
  EXPECT_EQ(costs.rows.size(), 3U);
}

TEST_F(LevelCostsTest, EverySampleIsMeasuredOnceIfThereIsBudget) {
  for (const std::size_t count : {1U, 2U, 3U, 8U, 13U}) {
    extents_.clear();
    for (std::uint64_t seed = 0; seed < count; ++seed) add(SampleKind::kText, seed);
    const LevelCosts costs = measure({-7});
    EXPECT_EQ(costs.sample_count, count);
    EXPECT_DOUBLE_EQ(costs.rows[1].ratio,
                     static_cast<double>(wire_bytes(-7)) / static_cast<double>(count * kExtent));
  }
}

TEST_F(LevelCostsTest, TheModelTakesTheRows) {
  add(SampleKind::kText, 5);
  const LevelCosts costs = measure({1, 3, 6});
  const LinkModel model(costs.rows);
  EXPECT_EQ(model.rows()[model.ladder().front()].level, kLevelPlain);
  EXPECT_GE(model.position_max(), 1);
}

TEST(LevelCosts, AreCalibratedByWhatOneLevelCostElsewhere) {
  std::vector<LevelCost> costs = {
      {},
      {.level = 1, .ratio = 0.4, .compress_s_per_byte = 2e-9, .decompress_s_per_byte = 1e-9},
      {.level = 6, .ratio = 0.3, .compress_s_per_byte = 10e-9, .decompress_s_per_byte = 1.5e-9}};
  calibrate(costs, 3, 1, 1);  // a level that was not measured says nothing
  EXPECT_DOUBLE_EQ(costs[1].compress_s_per_byte, 2e-9);
  calibrate(costs, 1, 3e-9, 0.5e-9);
  EXPECT_EQ(costs[0].compress_s_per_byte, 0);
  EXPECT_DOUBLE_EQ(costs[1].compress_s_per_byte, 3e-9);
  EXPECT_DOUBLE_EQ(costs[1].decompress_s_per_byte, 0.5e-9);
  EXPECT_DOUBLE_EQ(costs[2].compress_s_per_byte, 15e-9);
  EXPECT_DOUBLE_EQ(costs[2].decompress_s_per_byte, 0.75e-9);
  EXPECT_EQ(costs[2].ratio, 0.3);
  costs[1].decompress_s_per_byte = 0;  // nothing of it was unpacked here
  calibrate(costs, 1, 3e-9, 7e-9);
  EXPECT_DOUBLE_EQ(costs[2].decompress_s_per_byte, 0.75e-9);
}

}  // namespace
}  // namespace vhdxm::compression
