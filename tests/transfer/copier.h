// What stands between an ExtentQueue and a destination, in one thread: streams whose frames arrive
// late, in any order between streams, or never.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

#include "tests/support/expect_error.h"
#include "transfer/extent_queue.h"
#include "transfer/frame_builder.h"
#include "transfer/live_source.h"

namespace vhdxm::transfer {

/// A destination as bytes, and streams whose frames arrive late, or never.
class Copier {
 public:
  Copier(LiveSource& source, std::mt19937_64& random)
      : source_(source),
        random_(random),
        queue_(std::make_shared<ExtentQueue>(
            kExtent, 8 * kExtent, 1, [this](std::uint32_t, const Ledger&) { sent_ = true; },
            [](std::uint32_t, std::uint32_t) {})) {
    for (std::uint32_t disk = 0; disk < source.size(); ++disk) {
      content.emplace_back(source.view(disk).geometry().virtual_size_bytes, std::byte{0xee});
    }
  }

  /// The first pass of a disk; `meanwhile` happens between any two steps.
  void first_pass(std::uint32_t disk, const std::function<void()>& meanwhile) {
    sent_ = false;
    queue_->begin_disk(disk, source_.view(disk), {}, 1);
    run(meanwhile);
  }
  void pass(std::uint32_t number, const std::function<void()>& meanwhile) {
    sent_ = false;
    queue_->begin_pass(number, source_.sources(), [this] { sent_ = true; });
    run(meanwhile);
  }

  static constexpr std::uint32_t kExtent = 1024 * 1024;
  std::vector<std::vector<std::byte>> content;
  std::mutex mutex;  ///< Protects `content`, where other threads look at it.
  std::uint64_t lost = 0;
  const std::shared_ptr<ExtentQueue>& queue() { return queue_; }

 private:
  struct Flying {
    ExtentQueue::Sent frame;
    std::vector<std::byte> payload;
  };

  void run(const std::function<void()>& meanwhile) {
    int idle = 0;
    while (!sent_) {
      ASSERT_LT(++idle, 100'000'000) << "the pass does not end";
      meanwhile();
      if (random_() % 2 == 0) send();
      meanwhile();
      deliver();
    }
    EXPECT_TRUE(std::all_of(streams_.begin(), streams_.end(),
                            [](const auto& one) { return one.second.empty(); }));
  }

  void send() {
    ExtentQueue::Batch batch;
    const auto pulled = queue_->pull(batch, std::chrono::milliseconds(0));
    ASSERT_TRUE(test::succeeded(pulled));
    if (*pulled != ExtentQueue::Pull::kBatch) return;
    BufferPool pool(kExtent, 1);
    const Buffer buffer = pool.acquire();
    const auto built = build_frames(batch, buffer.bytes(), 1, pool);
    ASSERT_TRUE(test::succeeded(built));
    const std::uint32_t stream = first_stream_ + static_cast<std::uint32_t>(random_() % 3);
    queue_->note_sent(stream, batch, built->frames);
    for (std::size_t i = 0; i < built->frames.size(); ++i) {
      streams_[stream].push_back(
          {.frame = built->frames[i],
           .payload = {built->payloads[i].begin(), built->payloads[i].end()}});
    }
  }

  // Some frames arrive; now and then the stream is lost with the rest.
  void deliver() {
    for (auto& [stream, flying] : streams_) {
      std::uint64_t arrive = random_() % 3;
      std::uint64_t credit = 0;
      for (; arrive > 0 && !flying.empty(); --arrive) {
        apply(flying.front());
        if (flying.front().frame.header.kind == FrameKind::kData) {
          credit += flying.front().frame.header.raw_length;
        }
        flying.pop_front();
        ++arrived_[stream];
      }
      queue_->add_credit(credit);
      // Mostly one that has something to lose.
      if (random_() % (flying.empty() ? 64 : 24) == 0) {
        lost += flying.size();
        flying.clear();
        ASSERT_TRUE(test::succeeded(queue_->requeue(stream, arrived_[stream])));
        // A new number, as a replacement has.
        streams_.erase(stream);
        first_stream_ += 3;
        return;
      }
      ASSERT_TRUE(test::succeeded(queue_->acknowledge(stream, arrived_[stream])));
    }
  }

  void apply(const Flying& one) {
    const std::lock_guard lock(mutex);
    const FrameHeader& header = one.frame.header;
    auto& disk = content[header.disk];
    const auto at = disk.begin() + static_cast<std::ptrdiff_t>(header.virtual_offset);
    if (header.kind == FrameKind::kData) {
      std::copy(one.payload.begin(), one.payload.end(), at);
    } else {
      std::fill_n(at, header.raw_length, std::byte{0});
    }
  }

  LiveSource& source_;
  std::mt19937_64& random_;
  const std::shared_ptr<ExtentQueue> queue_;
  bool sent_ = false;
  std::uint32_t first_stream_ = 0;
  std::map<std::uint32_t, std::deque<Flying>> streams_;
  std::map<std::uint32_t, std::uint64_t> arrived_;
};

}  // namespace vhdxm::transfer
