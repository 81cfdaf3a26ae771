// A gate that slows writes down.
#include "transfer/shared_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "tests/support/expect_error.h"

namespace vhdxm::transfer {
namespace {

using std::chrono::steady_clock;
using test::succeeded;

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

TEST(SharedGate, AWriteThatIsUnderWayIsAwaited) {
  SharedGate gate;
  gate.start_tracking();
  gate.await_under_way();  // there is none
  for (int round = 0; round < 200; ++round) {
    std::optional<SharedGate::Pass> pass(gate.enter().value());
    std::atomic<bool> begun{false};
    std::atomic<bool> marked{false};
    std::thread waiter([&] {
      begun = true;
      gate.await_under_way();
      EXPECT_TRUE(marked) << "it has not finished";
    });
    while (!begun) std::this_thread::yield();
    marked = true;
    pass.reset();
    waiter.join();
  }
}

TEST(SharedGate, WritesThatComeLaterAreNotAwaited) {
  SharedGate gate;
  gate.start_tracking();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> writes{0};
  // Never a moment without one.
  std::thread writer([&] {
    auto last = std::make_unique<SharedGate::Pass>(gate.enter().value());
    while (!stop) {
      last = std::make_unique<SharedGate::Pass>(gate.enter().value());
      ++writes;
    }
  });
  for (int round = 0; round < 200; ++round) gate.await_under_way();
  const std::uint64_t before = writes;
  while (writes == before) std::this_thread::yield();
  stop = true;
  writer.join();
}

}  // namespace
}  // namespace vhdxm::transfer
