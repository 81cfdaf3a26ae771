// A gate that slows writes down.
#include "transfer/shared_gate.h"

#include <gtest/gtest.h>

#include <atomic>
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

}  // namespace
}  // namespace vhdxm::transfer
