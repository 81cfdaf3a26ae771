// One whole job, without chance: with a death at every step of what either host writes, and with
// every message lost or doubled, and both together.
#include <gtest/gtest.h>

#include <iostream>
#include <string>
#include <vector>

#include "tests/sim/run_count.h"
#include "tests/sim/simulation.h"

namespace vhdxm::sim {
namespace {

using Moment = test::StepFaults::Moment;

// They differ in the number of disks, the order of copying, and whether a guest's memory moves.
std::vector<std::uint64_t> seeds() {
  if (run_count() < 100'000) return {1};
  return {1, 2, 3, 4};
}

std::string trace_of(std::uint64_t seed, const Script& script) {
  std::string text;
  for (const std::string& line :
       Simulation({.seed = seed, .trace = true}).run_script(script).trace) {
    text += line + "\n";
  }
  return text;
}

::testing::AssertionResult holds(std::uint64_t seed, const Script& script) {
  const Outcome outcome = Simulation({.seed = seed}).run_script(script);
  if (outcome.failure.empty()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << outcome.failure << "\nseed " << seed << ", host "
         << (script.dies ? std::to_string(*script.dies) : "-") << " dies at step " << script.dies_at
         << ", moment " << static_cast<int>(script.moment) << ", power " << script.loses_power
         << ", lost " << script.lost_message.value_or(999) << ", doubled "
         << script.doubled_message.value_or(999) << "\n"
         << trace_of(seed, script);
}

TEST(ScriptedRuns, AJobWithoutFaultsMovesTheDisks) {
  for (const std::uint64_t seed : seeds()) {
    const Outcome outcome = Simulation({.seed = seed}).run_script({});
    ASSERT_EQ(outcome.failure, "") << trace_of(seed, {});
    EXPECT_EQ(outcome.releases, 1U);
    EXPECT_EQ(outcome.takeovers, 1U);
    EXPECT_GT(outcome.folder_steps[0], 20U);
    EXPECT_GT(outcome.folder_steps[1], 20U);
  }
}

TEST(ScriptedRuns, EveryDeathWithEveryMessageLost) {
  std::uint64_t runs = 0;
  for (const std::uint64_t seed : seeds()) {
    const Outcome plain = Simulation({.seed = seed}).run_script({});
    for (std::size_t host = 0; host < 2; ++host) {
      for (std::uint64_t step = 0; step < plain.folder_steps[host]; ++step) {
        for (const Moment moment : {Moment::kBefore, Moment::kDuring, Moment::kAfter}) {
          for (const bool power : {false, true}) {
            Script script{.dies = host, .dies_at = step, .moment = moment, .loses_power = power};
            ASSERT_TRUE(holds(seed, script));
            ++runs;
            if (moment == Moment::kDuring) continue;
            for (std::uint64_t lost = 0; lost < plain.messages; ++lost) {
              script.lost_message = lost;
              ASSERT_TRUE(holds(seed, script));
              ++runs;
            }
          }
        }
      }
    }
  }
  std::cout << runs << " runs\n";
}

TEST(ScriptedRuns, EveryMessageLostOrDoubled) {
  for (const std::uint64_t seed : seeds()) {
    const Outcome plain = Simulation({.seed = seed}).run_script({});
    ASSERT_GT(plain.messages, 3U);
    for (std::uint64_t message = 0; message < plain.messages; ++message) {
      ASSERT_TRUE(holds(seed, {.lost_message = message}));
      ASSERT_TRUE(holds(seed, {.doubled_message = message}));
      for (std::uint64_t other = 0; other < plain.messages; ++other) {
        ASSERT_TRUE(holds(seed, {.lost_message = message, .doubled_message = other}));
      }
    }
  }
}

}  // namespace
}  // namespace vhdxm::sim
