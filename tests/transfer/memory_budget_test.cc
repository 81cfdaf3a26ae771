#include "transfer/memory_budget.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <array>
#include <random>
#include <vector>

#include "tests/support/random_seed.h"
#include "transfer/compressor_pool.h"
#include "transfer/messages.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;

TEST(MemoryBudget, ALoneJobOfADefaultReceiverGetsSixteenStreams) {
  const ReceiverBudget budget{.memory_bytes = 64 * kMiB, .extent_bytes = kMiB, .jobs_max = 8};
  EXPECT_EQ(budget.jobs(), 8U);
  EXPECT_GE(budget.next_share(0, 0), budget.job_bytes(16));
}

TEST(MemoryBudget, EightJobsOfADefaultReceiverFitWhoeverComesFirst) {
  const ReceiverBudget budget{.memory_bytes = 64 * kMiB, .extent_bytes = kMiB, .jobs_max = 8};
  std::uint64_t taken = 0;
  for (unsigned running = 0; running < 8; ++running) {
    const std::uint64_t share = budget.next_share(taken, running);
    EXPECT_GE(share, budget.job_bytes(1)) << running;
    taken += share;
  }
  EXPECT_LE(taken + kReceiverOverheadBytes, 64 * kMiB);
}

TEST(MemoryBudget, LittleMemoryMeansFewerJobsNotMoreMemory) {
  const ReceiverBudget budget{.memory_bytes = 16 * kMiB, .extent_bytes = kMiB, .jobs_max = 8};
  EXPECT_EQ(budget.jobs(), 2U);
  const ReceiverBudget tiny{.memory_bytes = 1, .extent_bytes = kMiB, .jobs_max = 8};
  EXPECT_EQ(tiny.jobs(), 1U);
  EXPECT_EQ(tiny.next_share(0, 0), tiny.job_bytes(1)) << "one stream is the least there can be";
}

TEST(MemoryBudget, RangesThatAreHeldHaveWhatTheStreamsLeave) {
  const ReceiverBudget budget{.memory_bytes = 64 * kMiB, .extent_bytes = kMiB, .jobs_max = 8};
  const std::uint64_t share = budget.next_share(0, 0);
  EXPECT_GE(budget.held_ranges(share, 4), 60'000U) << "a lone job with four streams";
  EXPECT_EQ(budget.held_ranges(budget.job_bytes(16), 16), kHeldRangesMin);
  EXPECT_EQ(budget.held_ranges(0, 1), kHeldRangesMin);
  EXPECT_EQ(budget.held_ranges(~std::uint64_t{0}, 1), kHeldRangesMax);
  for (std::uint64_t bytes = budget.job_bytes(3); bytes < 128 * kMiB; bytes += 100'000) {
    EXPECT_LE(budget.job_bytes(3, budget.held_ranges(bytes, 3)), bytes);
  }
}

TEST(MemoryBudget, CreditFollowsMemoryAndCannotWrap) {
  EXPECT_EQ(credit_for(64 * kMiB), 160 * kMiB);
  EXPECT_EQ(credit_for(256 * kMiB), 544 * kMiB);
  EXPECT_GE(credit_for(~std::uint64_t{0}), std::uint64_t{1} << 40);
}

TEST(MemoryBudget, OneStreamIsTheLeast) {
  EXPECT_EQ(streams_within(0, kMiB), 1U);
  EXPECT_EQ(streams_within(64 * kMiB, kMiB), 43U);
}

TEST(MemoryBudget, ASenderDividesBetweenStreamsAndCompressors) {
  constexpr std::array<int, 4> kLevels = {12, 6, 3, 1};
  for (const std::uint64_t memory : {0ull, 8ull, 16ull, 32ull, 64ull, 1024ull}) {
    for (const std::uint64_t streams : {1u, 4u, 16u, 64u}) {
      for (const std::uint64_t compressors : {0u, 1u, 2u, 16u}) {
        SCOPED_TRACE(
            fmt::format("{} MiB, {} streams, {} compressors", memory, streams, compressors));
        const SenderBudget budget{.memory_bytes = memory * kMiB,
                                  .extent_bytes = kMiB,
                                  .streams_wanted = streams,
                                  .compressors_wanted = compressors,
                                  .levels = kLevels};
        const SenderBudget::Shares shares = budget.shares();
        EXPECT_GE(shares.streams, 1U);
        EXPECT_LE(shares.streams, streams);
        EXPECT_LE(shares.compressors, compressors);
        EXPECT_EQ(shares.compressors == 0, compressors == 0);
        std::uint64_t held = kSenderOverheadBytes + shares.streams * (kMiB + kStreamOverheadBytes);
        if (compressors > 0) {
          held += shares.compressors * CompressorPool::memory_bytes(kMiB, shares.level_max);
        }
        if (memory >= 16) {
          EXPECT_LE(held, memory * kMiB);
        }
      }
    }
  }
}

TEST(MemoryBudget, ADefaultSenderOnTwoProcessorsHasAllLevelsAndSixteenStreams) {
  constexpr std::array<int, 4> kLevels = {12, 6, 3, 1};
  const SenderBudget budget{.memory_bytes = 64 * kMiB,
                            .extent_bytes = kMiB,
                            .streams_wanted = 16,
                            .compressors_wanted = 2,
                            .levels = kLevels};
  const SenderBudget::Shares shares = budget.shares();
  EXPECT_EQ(shares.level_max, 12);
  EXPECT_EQ(shares.compressors, 2U);
  EXPECT_EQ(shares.streams, 16U);
}

TEST(MemoryBudget, JobsThatComeAndGoNeverHoldMoreThanThereIs) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    const ReceiverBudget budget{.memory_bytes = (12 + random() % 500) * kMiB,
                                .extent_bytes = kMiB >> random() % 3,
                                .jobs_max = 1 + static_cast<unsigned>(random() % 20)};
    std::vector<std::uint64_t> jobs;
    std::uint64_t taken = 0;
    for (int step = 0; step < 100; ++step) {
      if (jobs.size() < budget.jobs() && random() % 3 != 0) {
        const std::uint64_t share = budget.next_share(taken, static_cast<unsigned>(jobs.size()));
        // A job that has fewer streams takes less than its share, never more.
        const std::uint64_t least = budget.job_bytes(1);
        jobs.push_back(least + random() % (share - least + 1));
        taken += jobs.back();
      } else if (!jobs.empty()) {
        const std::size_t one = random() % jobs.size();
        taken -= jobs[one];
        jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(one));
      }
      ASSERT_LE(taken + kReceiverOverheadBytes, budget.memory_bytes) << step;
    }
  }
}

}  // namespace
}  // namespace vhdxm::transfer
