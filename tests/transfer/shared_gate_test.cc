// What a gate does beside letting writes through: it commits under its lock, and slows writes down.
#include "transfer/shared_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/support/expect_error.h"

namespace vhdxm::transfer {
namespace {

using test::succeeded;
using State = WriteGate::State;
using Fenced = SharedGate::Fenced;
using std::chrono::steady_clock;

TEST(SharedGate, CommitsOnlyWhatIsHeldStill) {
  SharedGate gate;
  unsigned commits = 0;
  const auto commit = [&commits] { return ++commits > 0; };
  EXPECT_EQ(gate.fence_with(1, commit), Fenced::kNotHeld) << "open";
  gate.start_tracking();
  const auto first = gate.hold();
  gate.let_go();
  EXPECT_EQ(gate.fence_with(first, commit), Fenced::kNotHeld) << "let go";
  {
    const auto pass = gate.enter();
    ASSERT_TRUE(succeeded(pass));
    const auto second = gate.hold();
    EXPECT_EQ(gate.fence_with(first, commit), Fenced::kNotHeld) << "another hold";
    EXPECT_EQ(gate.fence_with(second, commit), Fenced::kNotHeld) << "a write is under way";
    gate.let_go();
  }
  const auto third = gate.hold();
  EXPECT_EQ(commits, 0U);
  EXPECT_EQ(gate.fence_with(third, [] { return false; }), Fenced::kNotCommitted);
  EXPECT_EQ(gate.state(), State::kHeld) << "nobody knows whether it was committed";
  EXPECT_EQ(gate.fence_with(third, commit), Fenced::kDone);
  EXPECT_EQ(commits, 1U);
  EXPECT_EQ(gate.state(), State::kFenced);
}

TEST(SharedGate, NoWriteIsAnsweredBeforeTheCommitHasReturned) {
  SharedGate gate;
  gate.start_tracking();
  const auto number = gate.hold();
  std::atomic<bool> committed{false};
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&] {
      EXPECT_TRUE(gate.enter(4096).has_error());
      EXPECT_TRUE(committed);
    });
  }
  while (gate.waiting() < 4) std::this_thread::yield();
  EXPECT_EQ(gate.fence_with(number, [&] { return committed = true; }), Fenced::kDone);
  for (std::thread& writer : writers) writer.join();
}

TEST(SharedGate, SlowedWritesTakeTheirTime) {
  SharedGate gate;
  gate.start_tracking();
  gate.throttle(1024 * 1024);
  EXPECT_EQ(gate.throttled_to(), 1024U * 1024);
  const auto begun = steady_clock::now();
  // 64 KiB in all: the last one begins after the 60 before it had their time.
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(succeeded(gate.enter(4096)));
  EXPECT_GE(steady_clock::now() - begun,
            std::chrono::microseconds(15 * 4096 * 1'000'000LL / (1 << 20)));
}

TEST(SharedGate, SlowedWritesAreServedAllTheSameWhenTheyAreLetGo) {
  SharedGate gate;
  gate.start_tracking();
  gate.throttle(1);  // a byte a second: each would wait as long as any may
  std::atomic<unsigned> served{0};
  ASSERT_TRUE(succeeded(gate.enter(4096)));
  std::vector<std::thread> writers;
  for (int i = 0; i < 3; ++i) {
    writers.emplace_back([&] {
      EXPECT_TRUE(succeeded(gate.enter(4096)));
      ++served;
    });
  }
  gate.throttle(0);
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(served, 3U);
  EXPECT_EQ(gate.waiting(), 0U);
}

}  // namespace
}  // namespace vhdxm::transfer
