#include "base/buffer_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <future>
#include <set>
#include <thread>
#include <utility>

namespace vhdxm {
namespace {

constexpr std::size_t kBytes = 8192;

TEST(BufferPool, HandsOutAlignedDisjointBuffers) {
  BufferPool pool(kBytes, 4);
  std::vector<Buffer> held;
  std::set<std::byte*> seen;
  for (int i = 0; i < 4; ++i) {
    held.push_back(pool.acquire());
    const auto bytes = held.back().bytes();
    EXPECT_EQ(bytes.size(), kBytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % BufferPool::kAlignment, 0U);
    EXPECT_TRUE(seen.insert(bytes.data()).second);
    std::memset(bytes.data(), i, bytes.size());
  }
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(held[static_cast<std::size_t>(i)].bytes().front(), static_cast<std::byte>(i));
    EXPECT_EQ(held[static_cast<std::size_t>(i)].bytes().back(), static_cast<std::byte>(i));
  }
}

TEST(BufferPool, GivesNothingWhenAllAreOut) {
  BufferPool pool(kBytes, 2);
  auto one = pool.try_acquire();
  auto two = pool.try_acquire();
  EXPECT_TRUE(one && two);
  EXPECT_FALSE(pool.try_acquire());
  one.reset();
  EXPECT_TRUE(pool.try_acquire());
}

TEST(BufferPool, CountsWhatIsOutAndTheMostThatWas) {
  BufferPool pool(kBytes, 3);
  EXPECT_EQ(pool.in_use(), 0U);
  EXPECT_EQ(pool.high_water(), 0U);
  {
    const Buffer one = pool.acquire();
    const Buffer two = pool.acquire();
    EXPECT_EQ(pool.in_use(), 2U);
  }
  EXPECT_EQ(pool.in_use(), 0U);
  EXPECT_EQ(pool.high_water(), 2U);
}

TEST(BufferPool, MovedFromAndReleasedBuffersAreEmpty) {
  BufferPool pool(kBytes, 2);
  Buffer one = pool.acquire();
  Buffer two = std::move(one);
  EXPECT_FALSE(one);  // NOLINT(bugprone-use-after-move): what a moved-from buffer is, is the claim
  EXPECT_TRUE(two);
  EXPECT_EQ(pool.in_use(), 1U);
  Buffer three = pool.acquire();
  three = std::move(two);  // gives back what it held
  EXPECT_EQ(pool.in_use(), 1U);
  three.release();
  EXPECT_FALSE(three);
  EXPECT_TRUE(three.bytes().empty());
  three.release();  // once is enough, twice is no harm
  EXPECT_EQ(pool.in_use(), 0U);
}

TEST(BufferPool, AcquireWaitsForABufferToComeBack) {
  BufferPool pool(kBytes, 1);
  Buffer held = pool.acquire();
  auto waiting = std::async(std::launch::async, [&] { return pool.acquire().bytes().data(); });
  std::byte* const address = held.bytes().data();
  held.release();
  EXPECT_EQ(waiting.get(), address);
}

TEST(BufferPool, ManyThreadsNeverShareABuffer) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 2000;
  BufferPool pool(4096, 3);
  std::atomic<int> shared = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&pool, &shared, t] {
        for (int i = 0; i < kRounds; ++i) {
          const Buffer buffer = pool.acquire();
          const auto mark = static_cast<std::byte>(t + 1);
          buffer.bytes().front() = mark;
          buffer.bytes().back() = mark;
          if (i % 16 == 0) std::this_thread::yield();
          if (buffer.bytes().front() != mark || buffer.bytes().back() != mark) ++shared;
        }
      });
    }
  }
  EXPECT_EQ(shared, 0);
  EXPECT_EQ(pool.in_use(), 0U);
  EXPECT_LE(pool.high_water(), 3U);
}

TEST(BufferPool, CountsWhatIsDoneWithBytesWhereTheyStand) {
  BufferPool pool(8192, 2);
  const Buffer first = pool.acquire();
  const Buffer second = pool.acquire();
  pool.note(BufferPool::Stage::kFilled, first.bytes());
  pool.note(BufferPool::Stage::kFilled, second.bytes().first(100));
  pool.note(BufferPool::Stage::kHashed, second.bytes().last(4096));
  pool.note(BufferPool::Stage::kDrained, second.bytes().subspan(8192));
  const std::vector<std::byte> copy(1000);
  pool.note(BufferPool::Stage::kDrained, copy);
  pool.note(BufferPool::Stage::kFilled, {});
  const auto stages = pool.stage_bytes();
  EXPECT_EQ(stages.filled, 8292U);
  EXPECT_EQ(stages.hashed, 4096U);
  EXPECT_EQ(stages.drained, 0U);
  EXPECT_EQ(stages.foreign, 1000U);
}

TEST(BufferPoolDeathTest, RefusesSizesThatAreNoPages) {
  EXPECT_DEATH(BufferPool(1000, 1), "broken invariant");
  EXPECT_DEATH(BufferPool(4096, 0), "broken invariant");
}

}  // namespace
}  // namespace vhdxm
