// What a buffer costs to take and give back, alone and with other streams at the same pool.
#include <benchmark/benchmark.h>

#include "base/buffer_pool.h"
#include "base/check.h"

namespace vhdxm {
namespace {

constexpr std::size_t kBufferBytes = 1 << 20;
constexpr std::size_t kBufferCount = 64;

BufferPool& pool() {
  static BufferPool the_pool(kBufferBytes, kBufferCount);
  return the_pool;
}

void BM_BufferPool_AcquireRelease(benchmark::State& state) {
  for (auto _ : state) {
    const Buffer buffer = pool().acquire();
    VHDXM_CHECK(buffer.bytes().size() == kBufferBytes);
    benchmark::DoNotOptimize(buffer.bytes().data());
  }
  VHDXM_CHECK(pool().high_water() <= kBufferCount);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_BufferPool_AcquireRelease)->Threads(1)->Threads(4)->UseRealTime();

}  // namespace
}  // namespace vhdxm
