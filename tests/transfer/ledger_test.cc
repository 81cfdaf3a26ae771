#include "transfer/ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/support/random_seed.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kJobSeed = 0x1234;

std::vector<FrameHeader> frames(std::size_t count, std::mt19937_64& random) {
  std::vector<FrameHeader> all(count);
  for (FrameHeader& frame : all) {
    frame.kind = static_cast<FrameKind>(1 + random() % 4);
    frame.virtual_offset = random() % 1000 * kCellBytes;
    frame.raw_length = kCellBytes;
    if (frame.kind == FrameKind::kData) frame.hash = Hash128{.low = random(), .high = random()};
  }
  return all;
}

Ledger ledger_of(const std::vector<FrameHeader>& all, std::uint64_t seed = kJobSeed) {
  Ledger ledger(seed);
  for (const FrameHeader& frame : all) ledger.add(frame);
  return ledger;
}

TEST(Ledger, OrderDoesNotMatter) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  std::vector<FrameHeader> all = frames(500, random);
  const Ledger first = ledger_of(all);
  for (int round = 0; round < 10; ++round) {
    std::shuffle(all.begin(), all.end(), random);
    const Ledger again = ledger_of(all);
    EXPECT_EQ(again.sum(), first.sum());
    EXPECT_EQ(again.entries(), 500u);
    EXPECT_EQ(again.raw_bytes(), 500 * kCellBytes);
  }
}

TEST(Ledger, MergedStreamsAreAsOne) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  const std::vector<FrameHeader> all = frames(300, random);
  std::vector<Ledger> streams(4, Ledger(kJobSeed));
  for (const FrameHeader& frame : all) streams[random() % streams.size()].add(frame);
  Ledger merged(kJobSeed);
  for (const Ledger& stream : streams) merged.merge(stream);
  EXPECT_EQ(merged.sum(), ledger_of(all).sum());
  EXPECT_EQ(merged.entries(), 300u);
  EXPECT_EQ(merged.raw_bytes(), 300 * kCellBytes);
}

TEST(Ledger, EveryFieldCounts) {
  FrameHeader base;
  base.raw_length = kCellBytes;
  const Hash128 sum = ledger_of({base}).sum();
  FrameHeader other = base;
  other.pass = 1;
  EXPECT_NE(ledger_of({other}).sum(), sum);
  other = base;
  other.kind = FrameKind::kZero;
  EXPECT_NE(ledger_of({other}).sum(), sum);
  other = base;
  other.virtual_offset = kCellBytes;
  EXPECT_NE(ledger_of({other}).sum(), sum);
  other = base;
  other.raw_length = 2 * kCellBytes;
  EXPECT_NE(ledger_of({other}).sum(), sum);
  other = base;
  other.hash.low = 1;
  EXPECT_NE(ledger_of({other}).sum(), sum);
  other = base;
  other.hash.high = 1;
  EXPECT_NE(ledger_of({other}).sum(), sum);
  EXPECT_NE(ledger_of({base}, kJobSeed + 1).sum(), sum) << "the job's seed";
}

TEST(Ledger, HowItCameIsNotPartOfIt) {
  FrameHeader plain;
  plain.raw_length = plain.wire_length = kCellBytes;
  FrameHeader other = plain;
  other.wire_length = 77;
  EXPECT_EQ(ledger_of({plain}).sum(), ledger_of({other}).sum());
}

TEST(Ledger, LostAndRepeatedEntriesShow) {
  std::mt19937_64 random(5);
  std::vector<FrameHeader> all = frames(50, random);
  const Hash128 sum = ledger_of(all).sum();
  all.push_back(all.front());
  EXPECT_NE(ledger_of(all).sum(), sum);
  all.pop_back();
  all.pop_back();
  EXPECT_NE(ledger_of(all).sum(), sum);
}

}  // namespace
}  // namespace vhdxm::transfer
