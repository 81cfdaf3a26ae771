// The simulator finds each fault that was planted, within the runs that it makes anyway.
#include <gtest/gtest.h>

#include <iostream>

#include "tests/sim/run_count.h"
#include "tests/sim/simulation.h"
#include "tests/support/random_seed.h"

namespace vhdxm::sim {
namespace {

class PlantedFaults : public testing::TestWithParam<Planted> {};

TEST_P(PlantedFaults, AreFound) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  const std::uint64_t runs = run_count();
  for (std::uint64_t run = 0; run < runs; ++run) {
    const Options options{.seed = seed + run, .planted = GetParam()};
    const Outcome outcome = Simulation(options).run_random();
    if (outcome.failure.empty()) continue;
    std::cout << to_string(GetParam()) << ": found in run " << run + 1 << ": " << outcome.failure
              << "\n";
    return;
  }
  FAIL() << to_string(GetParam()) << ": not found in " << runs << " runs";
}

INSTANTIATE_TEST_SUITE_P(Each, PlantedFaults,
                         testing::Values(Planted::kStalePrepared, Planted::kMarkBeforeWrite,
                                         Planted::kWriteAfterLedger, Planted::kReadOvertakesMirror,
                                         Planted::kDeadStreamWrites));

}  // namespace
}  // namespace vhdxm::sim
