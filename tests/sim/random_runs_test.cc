// Random runs: as many as VHDXM_SIM_RUNS says, each from a seed of its own.
//
// A run that fails prints its seed and its trace; VHDXM_SIM_SEED repeats just that one.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "tests/sim/run_count.h"
#include "tests/sim/simulation.h"
#include "tests/support/random_seed.h"

namespace vhdxm::sim {
namespace {

std::string trace_of(Options options) {
  options.trace = true;
  std::string text;
  for (const std::string& line : Simulation(options).run_random().trace) text += line + "\n";
  return text;
}

void add(Outcome& sum, const Outcome& outcome) {
  sum.steps += outcome.steps;
  sum.releases += outcome.releases;
  sum.takeovers += outcome.takeovers;
  sum.deaths += outcome.deaths;
  sum.voided += outcome.voided;
  sum.doubts += outcome.doubts;
  sum.forced += outcome.forced;
  sum.moves_back += outcome.moves_back;
  sum.acknowledged += outcome.acknowledged;
  sum.mirrored += outcome.mirrored;
}

// Split, so that they run side by side.
class RandomRuns : public testing::TestWithParam<int> {};

TEST_P(RandomRuns, KeepEveryPromise) {
  if (const char* one = std::getenv("VHDXM_SIM_SEED")) {
    const Options options{.seed = std::stoull(one, nullptr, 0), .trace = true};
    const Outcome outcome = Simulation(options).run_random();
    for (const std::string& line : outcome.trace) std::cout << line << "\n";
    EXPECT_EQ(outcome.failure, "");
    return;
  }
  const auto seed = test::random_seed() + 0x10000000U * static_cast<unsigned>(GetParam());
  const std::uint64_t runs = run_count() / 4;
  std::cout << runs << " runs from VHDXM_TEST_SEED=" << seed << "\n";
  Outcome sum;
  for (std::uint64_t run = 0; run < runs; ++run) {
    const Options options{.seed = seed + run};
    const Outcome outcome = Simulation(options).run_random();
    ASSERT_EQ(outcome.failure, "") << "repeat with VHDXM_SIM_SEED=" << options.seed << "\n"
                                   << trace_of(options);
    add(sum, outcome);
  }
  std::cout << sum.steps << " steps, " << sum.acknowledged << " writes, " << sum.mirrored
            << " of them mirrored, " << sum.deaths << " deaths, " << sum.voided
            << " attempts void, " << sum.releases << " releases, " << sum.takeovers
            << " taken over, " << sum.moves_back << " disks moved back, " << sum.doubts
            << " in doubt, " << sum.forced << " forced\n";
  // They go where it hurts. Of 240,000 runs, 34 in 100 had a release, 206 in 100 a death, 5.1 in
  // 100 a void attempt and 16 in 100 a mirrored write; 6 in 1000 ended in doubt, 21 in 1000 moved
  // back, 1.4 in 1000 were forced.
  const bool many = runs >= 20'000;
  EXPECT_GT(sum.releases, runs / 10);
  EXPECT_GT(sum.deaths, runs / 2);
  // In a thousand runs there are 51, with a deviation of 7: of so few not as much can be asked.
  EXPECT_GT(sum.voided, runs / (many ? 25 : 100));
  EXPECT_GT(sum.mirrored, runs / 12);
  if (runs >= 2000) {
    EXPECT_GT(sum.doubts, 0U);
    EXPECT_GT(sum.moves_back, 0U);
  }
  if (many) {
    EXPECT_GT(sum.doubts, runs / 1000);
    EXPECT_GT(sum.forced, runs / 5000);
    EXPECT_GT(sum.moves_back, runs / 200);
  }
}

INSTANTIATE_TEST_SUITE_P(Quarter, RandomRuns, testing::Range(0, 4));

}  // namespace
}  // namespace vhdxm::sim
