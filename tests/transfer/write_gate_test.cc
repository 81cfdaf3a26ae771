// The gate's states, alone and with threads that wait at it.
#include "transfer/write_gate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "transfer/shared_gate.h"

namespace vhdxm::transfer {
namespace {

using test::succeeded;
using State = WriteGate::State;
using Verdict = WriteGate::Verdict;
using std::chrono::steady_clock;

TEST(WriteGate, AnOpenGateServesAndDoesNotMark) {
  WriteGate gate;
  EXPECT_EQ(gate.admit(), Verdict::kServe);
  EXPECT_EQ(gate.in_flight(), 1U);
  EXPECT_EQ(gate.untracked(), 1U);
  gate.finish(Verdict::kServe);
  EXPECT_EQ(gate.in_flight(), 0U);
}

TEST(WriteGate, WritesFromBeforeTrackingStayUnmarked) {
  WriteGate gate;
  const Verdict before = gate.admit();
  gate.start_tracking();
  const Verdict after = gate.admit();
  EXPECT_EQ(after, Verdict::kServeAndMark);
  EXPECT_EQ(gate.untracked(), 1U);
  gate.finish(after);
  EXPECT_EQ(gate.untracked(), 1U);
  gate.finish(before);
  EXPECT_EQ(gate.untracked(), 0U);
}

TEST(WriteGate, AHeldGateLetsNothingNewThrough) {
  WriteGate gate;
  gate.start_tracking();
  const Verdict under_way = gate.admit();
  const auto number = gate.hold();
  EXPECT_EQ(gate.admit(), Verdict::kWait);
  EXPECT_FALSE(gate.fence(number)) << "a write is under way";
  gate.finish(under_way);
  EXPECT_TRUE(gate.fence(number));
  EXPECT_EQ(gate.admit(), Verdict::kRefuse);
  EXPECT_EQ(gate.state(), State::kFenced);
}

TEST(WriteGate, AHoldThatWasLetGoFencesNothing) {
  WriteGate gate;
  gate.start_tracking();
  const auto first = gate.hold();
  gate.let_go();
  EXPECT_FALSE(gate.fence(first)) << "it is not held";
  const Verdict write = gate.admit();
  EXPECT_EQ(write, Verdict::kServeAndMark);
  gate.finish(write);
  const auto second = gate.hold();
  EXPECT_FALSE(gate.fence(first)) << "a write came between";
  EXPECT_EQ(gate.state(), State::kHeld);
  EXPECT_TRUE(gate.fence(second));
}

TEST(WriteGate, AnArmedGateRefusesAndNeverParks) {
  WriteGate gate(true);
  EXPECT_EQ(gate.admit(), Verdict::kRefuse);
  gate.take_over();
  EXPECT_EQ(gate.admit(), Verdict::kServe);
  gate.finish(Verdict::kServe);
}

// Against the rule said plainly: what is under way, and whether anything was let through since the
// hold.
TEST(WriteGate, RandomEventsKeepItsPromises) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    WriteGate gate;
    std::vector<Verdict> under_way;
    std::uint64_t number = 0;
    bool let_through_since_hold = true;
    for (int i = 0; i < 60 && gate.state() != State::kFenced; ++i) {
      switch (random() % 6) {
        case 0:
        case 1: {
          const Verdict verdict = gate.admit();
          ASSERT_EQ(verdict == Verdict::kWait, gate.state() == State::kHeld);
          if (verdict == Verdict::kWait) break;
          under_way.push_back(verdict);
          let_through_since_hold = true;
          break;
        }
        case 2:
          if (under_way.empty()) break;
          std::swap(under_way.back(), under_way[random() % under_way.size()]);
          gate.finish(under_way.back());
          under_way.pop_back();
          break;
        case 3:
          if (gate.state() == State::kOpen) gate.start_tracking();
          break;
        case 4:
          if (gate.state() == State::kTracking) {
            number = gate.hold();
            let_through_since_hold = false;
          } else if (gate.state() == State::kHeld) {
            gate.let_go();
          }
          break;
        default:
          if (gate.fence(number)) {
            ASSERT_TRUE(under_way.empty());
            ASSERT_FALSE(let_through_since_hold);
          }
      }
      ASSERT_EQ(gate.in_flight(), under_way.size());
      ASSERT_EQ(gate.untracked(), std::count(under_way.begin(), under_way.end(), Verdict::kServe));
    }
  }
}

TEST(SharedGate, TrackingBeginsWhenNoUnmarkedWriteIsUnderWay) {
  SharedGate gate;
  std::atomic<bool> finished{false};
  std::optional<SharedGate::Pass> pass(*gate.enter());
  std::thread tracker([&] {
    gate.start_tracking();
    EXPECT_TRUE(finished);
  });
  while (gate.state() != State::kTracking) std::this_thread::yield();
  EXPECT_TRUE(gate.enter()->marks()) << "those that come meanwhile go through";
  finished = true;
  pass.reset();
  tracker.join();
}

TEST(SharedGate, HeldWritesWaitAndGoOnWhenItIsLetGo) {
  SharedGate gate;
  gate.start_tracking();
  gate.hold();
  EXPECT_TRUE(gate.wait_idle(steady_clock::now()));
  std::atomic<bool> released{false};
  std::thread writer([&] {
    const auto pass = gate.enter();
    EXPECT_TRUE(released);
    ASSERT_TRUE(succeeded(pass));
    EXPECT_TRUE(pass->marks());
  });
  while (gate.waiting() != 1) std::this_thread::yield();
  released = true;
  gate.let_go();
  writer.join();
}

TEST(SharedGate, HeldWritesAreRefusedWhenItIsFenced) {
  SharedGate gate;
  gate.start_tracking();
  const auto number = gate.hold();
  std::vector<std::thread> writers;
  std::atomic<int> refused{0};
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&] {
      const auto pass = gate.enter();
      ASSERT_TRUE(pass.has_error());
      EXPECT_EQ(pass.error().code, boost::system::errc::operation_not_permitted);
      ++refused;
    });
  }
  while (gate.waiting() != 4) std::this_thread::yield();
  EXPECT_EQ(refused, 0);
  EXPECT_TRUE(gate.fence(number));
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(refused, 4);
}

TEST(SharedGate, WritesWaitUntilWhatIsCommittedIsCommitted) {
  SharedGate gate;
  gate.start_tracking();
  const auto number = gate.hold();
  std::atomic<bool> committed{false};
  std::thread writer([&] {
    EXPECT_TRUE(gate.enter().has_error());
    EXPECT_TRUE(committed);
  });
  while (gate.waiting() != 1) std::this_thread::yield();
  const auto fenced = gate.fence_after(number, [&] {
    committed = true;
    return Result<void>{};
  });
  writer.join();
  ASSERT_TRUE(succeeded(fenced));
  EXPECT_TRUE(*fenced);
  EXPECT_EQ(gate.state(), State::kFenced);
}

TEST(SharedGate, ACommitThatFailsLeavesItHeld) {
  SharedGate gate;
  gate.start_tracking();
  const auto number = gate.hold();
  const auto failed =
      gate.fence_after(number, [] { return Result<void>(Error{.code = BaseErrc::kInjected}); });
  EXPECT_TRUE(test::failed_with(failed, BaseErrc::kInjected));
  EXPECT_EQ(gate.state(), State::kHeld);
  gate.let_go();
}

TEST(SharedGate, AHoldThatWasLetGoCommitsNothing) {
  SharedGate gate;
  gate.start_tracking();
  const auto first = gate.hold();
  gate.let_go();
  gate.hold();
  bool ran = false;
  const auto fenced = gate.fence_after(first, [&] {
    ran = true;
    return Result<void>{};
  });
  ASSERT_TRUE(succeeded(fenced));
  EXPECT_FALSE(*fenced);
  EXPECT_FALSE(ran);
  gate.let_go();
}

TEST(SharedGate, ADeadlineThatPassesLeavesItHeld) {
  SharedGate gate;
  gate.start_tracking();
  {
    const auto pass = gate.enter();
    ASSERT_TRUE(succeeded(pass));
    gate.hold();
    EXPECT_FALSE(gate.wait_idle(steady_clock::now()));
    EXPECT_EQ(gate.state(), State::kHeld);
  }
  EXPECT_TRUE(gate.wait_idle(steady_clock::now()));
  gate.let_go();
}

TEST(SharedGate, AnArmedGateRefusesUntilThisHostOwnsTheDisk) {
  SharedGate gate(true);
  EXPECT_EQ(gate.enter().error().code, boost::system::errc::operation_not_permitted);
  gate.take_over();
  EXPECT_TRUE(succeeded(gate.enter()));
}

}  // namespace
}  // namespace vhdxm::transfer
