#include "transfer/extent_queue.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <random>
#include <utility>

#include "base/memory_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "transfer/coverage.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/layer.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using test::succeeded;
using vhdx::kMiB;

std::unique_ptr<vhdx::Layer> fixed_disk(std::uint64_t size_bytes) {
  const auto file = std::make_shared<MemoryFile>();
  const vhdx::Geometry geometry{.virtual_size_bytes = size_bytes,
                                .block_bytes = 32 * static_cast<std::uint32_t>(kMiB),
                                .type = vhdx::DiskType::kFixed};
  vhdx::Description description;
  description.geometry = geometry;
  EXPECT_TRUE(succeeded(vhdx::create(file, std::move(description))));
  auto layer = vhdx::Layer::open(file, vhdx::Layer::Replay::kInMemory);
  EXPECT_TRUE(succeeded(layer));
  return layer.has_error() ? nullptr : std::move(*layer);
}

std::vector<ExtentQueue::Sent> frames_of(const ExtentQueue::Batch& batch) {
  std::vector<ExtentQueue::Sent> frames;
  for (const WorkItem& item : batch.items) {
    frames.push_back({.header = {.kind = item.kind,
                                 .disk = batch.disk,
                                 .virtual_offset = item.virtual_offset,
                                 .raw_length = item.length,
                                 .wire_length = static_cast<std::uint32_t>(item.length)},
                      .again = item});
  }
  return frames;
}

TEST(ExtentQueue, AFullDiskIsNotCutBeforeItIsPulled) {
  const auto layer = fixed_disk(std::uint64_t{4} << 40);
  ASSERT_NE(layer, nullptr);
  ExtentQueue queue(
      kMiB, 8 * kMiB, 1, [](std::uint32_t, const Ledger&) {}, [](std::uint32_t, std::uint32_t) {});
  queue.begin_disk(0, *layer);
  ExtentQueue::Batch batch;
  for (std::uint64_t i = 0; i < 8; ++i) {
    ASSERT_EQ(*queue.pull(batch, 0ms), ExtentQueue::Pull::kBatch);
    ASSERT_EQ(batch.items.size(), 1U);
    EXPECT_EQ(batch.items[0].virtual_offset, i * kMiB);
    EXPECT_EQ(batch.items[0].length, kMiB);
    queue.note_sent(0, batch, frames_of(batch));
  }
  EXPECT_EQ(*queue.pull(batch, 0ms), ExtentQueue::Pull::kIdle) << "no credit is left";
  EXPECT_LE(queue.high_water().queued_items, 512U);
  EXPECT_EQ(queue.high_water().credit_bytes, 8 * kMiB);
  EXPECT_EQ(queue.high_water().frames, 8U);
}

TEST(ExtentQueue, EveryByteIsSentOnceWhateverStreamsAndCreditDo) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20; ++round) {
    const std::uint64_t size = (1 + random() % 300) * kMiB;
    const auto layer = fixed_disk(size);
    ASSERT_NE(layer, nullptr);
    const std::uint64_t credit = (1 + random() % 16) * kMiB;
    bool sent = false;
    ExtentQueue queue(
        kMiB, credit, 1, [&](std::uint32_t, const Ledger&) { sent = true; },
        [](std::uint32_t, std::uint32_t) {});
    queue.begin_disk(0, *layer);

    // Each stream's frames that the receiver has not told of yet.
    std::vector<std::deque<ExtentQueue::Sent>> streams(4);
    std::vector<std::uint64_t> acknowledged(streams.size());
    Coverage arrived(size);
    while (!sent) {
      const std::size_t one = random() % streams.size();
      ExtentQueue::Batch batch;
      if (random() % 2 == 0) {
        if (*queue.pull(batch, 0ms) != ExtentQueue::Pull::kBatch) continue;
        if (random() % 16 == 0) {
          queue.give_back(batch);
          continue;
        }
        const auto frames = frames_of(batch);
        queue.note_sent(static_cast<std::uint32_t>(one), batch, frames);
        streams[one].insert(streams[one].end(), frames.begin(), frames.end());
      } else if (random() % 32 == 0) {
        // It breaks: what did not arrive goes out again, over a stream with a new number.
        ASSERT_TRUE(succeeded(queue.requeue(static_cast<std::uint32_t>(one), acknowledged[one])));
        streams[one].clear();
        streams[one].shrink_to_fit();
      } else if (!streams[one].empty()) {
        const FrameHeader header = streams[one].front().header;
        streams[one].pop_front();
        ASSERT_TRUE(succeeded(arrived.add(header.virtual_offset, header.raw_length)));
        queue.add_credit(header.wire_length);
        ASSERT_TRUE(
            succeeded(queue.acknowledge(static_cast<std::uint32_t>(one), ++acknowledged[one])));
      }
    }
    EXPECT_TRUE(arrived.complete());
    EXPECT_LE(queue.high_water().credit_bytes, credit);
  }
}

}  // namespace
}  // namespace vhdxm::transfer
