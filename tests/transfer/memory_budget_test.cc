#include "transfer/memory_budget.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/support/random_seed.h"

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
  EXPECT_EQ(budget.jobs(), 3U);
  const ReceiverBudget tiny{.memory_bytes = 1, .extent_bytes = kMiB, .jobs_max = 8};
  EXPECT_EQ(tiny.jobs(), 1U);
  EXPECT_EQ(tiny.next_share(0, 0), tiny.job_bytes(1)) << "one stream is the least there can be";
}

TEST(MemoryBudget, CreditFollowsMemoryAndCannotWrap) {
  EXPECT_EQ(credit_for(64 * kMiB), 160 * kMiB);
  EXPECT_EQ(credit_for(256 * kMiB), 544 * kMiB);
  EXPECT_GE(credit_for(~std::uint64_t{0}), std::uint64_t{1} << 40);
}

TEST(MemoryBudget, OneStreamIsTheLeast) {
  EXPECT_EQ(streams_within(0, kMiB), 1U);
  EXPECT_EQ(streams_within(64 * kMiB, kMiB), 39U);
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
