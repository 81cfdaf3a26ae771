// What the queue costs an extent: pulled, noted, acknowledged; by one stream, and by several at
// once.
#include <benchmark/benchmark.h>

#include <utility>

#include "base/check.h"
#include "base/memory_file.h"
#include "transfer/extent_queue.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/layer.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint32_t kExtentBytes = 1 << 20;

/// A full disk of the most there can be, so that no run comes to its end.
std::unique_ptr<vhdx::Layer> full_disk() {
  vhdx::Description description;
  description.geometry = {.virtual_size_bytes = vhdx::kVirtualSizeMax,
                          .block_bytes = 256 * kExtentBytes,
                          .type = vhdx::DiskType::kFixed};
  const auto file = std::make_shared<MemoryFile>();
  vhdx::create(file, std::move(description)).value();
  return vhdx::Layer::open(file, vhdx::Layer::Replay::kInMemory).value();
}

struct Source {
  Source()
      : layer(full_disk()),
        queue(
            kExtentBytes, 1ull << 40, 1, [](auto, const auto&) {}, [](auto, auto) {}) {
    queue.begin_disk(0, *layer);
  }
  std::unique_ptr<vhdx::Layer> layer;
  ExtentQueue queue;
};

void BM_ExtentQueue_PullNoteAcknowledge(benchmark::State& state) {
  static Source* source = nullptr;
  if (state.thread_index() == 0) source = new Source;
  const auto stream = static_cast<std::uint32_t>(state.thread_index());
  std::uint64_t frames = 0;
  for (auto _ : state) {
    ExtentQueue::Batch batch;
    const auto pulled = source->queue.pull(batch, std::chrono::milliseconds(0)).value();
    VHDXM_CHECK(pulled == ExtentQueue::Pull::kBatch && batch.payload_bytes == kExtentBytes);
    const ExtentQueue::Sent sent{.header = {.kind = FrameKind::kData,
                                            .virtual_offset = batch.items[0].virtual_offset,
                                            .raw_length = kExtentBytes},
                                 .again = batch.items[0]};
    source->queue.note_sent(stream, batch, {&sent, 1});
    source->queue.add_credit(kExtentBytes);
    source->queue.acknowledge(stream, ++frames).value();
  }
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) {
    VHDXM_CHECK(source->queue.high_water().queued_items <= 512);
    delete std::exchange(source, nullptr);
  }
}
BENCHMARK(BM_ExtentQueue_PullNoteAcknowledge)->Threads(1)->Threads(4)->UseRealTime();

}  // namespace
}  // namespace vhdxm::transfer
