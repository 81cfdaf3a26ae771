#include "tests/transfer/long_link.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "base/memory_file.h"
#include "vhdx/bulk_writer.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint32_t kExtentBytes = 1024 * 1024;
constexpr std::uint64_t kSegmentBytes = 64 * 1024;
constexpr double kWarmUpSeconds = 1;

std::unique_ptr<vhdx::Layer> full_disk() {
  const auto file = std::make_shared<MemoryFile>();
  const vhdx::Geometry geometry{.virtual_size_bytes = std::uint64_t{1} << 40,
                                .block_bytes = 32 * kExtentBytes,
                                .type = vhdx::DiskType::kFixed};
  vhdx::Description description;
  description.geometry = geometry;
  EXPECT_FALSE(vhdx::create(file, std::move(description)).has_error());
  return *vhdx::Layer::open(file, vhdx::Layer::Replay::kInMemory);
}

}  // namespace

LongLink::LongLink(const Setting& setting)
    : setting_(setting),
      random_(setting.seed),
      layer_(full_disk()),
      queue_(
          kExtentBytes, setting.credit, 1, [](std::uint32_t, const Ledger&) {},
          [](std::uint32_t, std::uint32_t) {}),
      streams_(setting.streams) {
  queue_.begin_disk(0, *layer_);
}

void LongLink::at(double time, std::function<void()> what) {
  events_.emplace(std::pair(time, event_count_++), std::move(what));
}

LongLink::Outcome LongLink::run() {
  for (unsigned stream = 0; stream < setting_.streams; ++stream) ask_for_work(stream);
  while (!events_.empty() && events_.begin()->first.first < setting_.seconds) {
    auto event = events_.extract(events_.begin());
    now_ = event.key().first;
    event.mapped()();
  }
  const double seconds = setting_.seconds - kWarmUpSeconds;
  return {.share_of_rate = static_cast<double>(written_bytes_) / seconds / setting_.rate,
          .high_water = queue_.high_water()};
}

void LongLink::ask_for_work(unsigned stream) {
  ExtentQueue::Batch batch;
  streams_[stream].asking = *queue_.pull(batch, {}) != ExtentQueue::Pull::kBatch;
  if (streams_[stream].asking) return;
  const double read = static_cast<double>(batch.payload_bytes) / setting_.read_rate;
  at(now_ + read, [this, stream, batch] {
    std::vector<ExtentQueue::Sent> frames;
    for (const WorkItem& item : batch.items) {
      frames.push_back({.header = {.kind = FrameKind::kData,
                                   .virtual_offset = item.virtual_offset,
                                   .raw_length = item.length},
                        .again = item});
      for (std::uint64_t done = 0; done < item.length; done += kSegmentBytes) {
        streams_[stream].unsent.push_back(std::min(kSegmentBytes, item.length - done));
      }
    }
    queue_.note_sent(stream, batch, frames);
    send_segments(stream);
  });
}

void LongLink::send_segments(unsigned stream) {
  Stream& state = streams_[stream];
  if (state.unsent.empty()) return;
  while (!state.unsent.empty() && state.in_window + state.unsent.front() <= setting_.window) {
    const std::uint64_t bytes = state.unsent.front();
    state.unsent.pop_front();
    state.in_window += bytes;
    send_segment(stream, bytes, state.unsent.empty());
  }
  // The program's write has returned: it reads on while the kernel sends.
  if (state.unsent.empty()) ask_for_work(stream);
}

void LongLink::send_segment(unsigned stream, std::uint64_t bytes, bool last) {
  Stream& state = streams_[stream];
  link_free_ = std::max(link_free_, now_) + static_cast<double>(bytes) / setting_.rate;
  double arrives = link_free_ + setting_.round_trip / 2;
  if (std::uniform_real_distribution<>()(random_) < setting_.loss) arrives += setting_.round_trip;
  state.arrives_last = std::max(state.arrives_last, arrives);
  state.taken_last = std::max(state.taken_last, state.arrives_last);
  const double taken = state.taken_last;
  if (last) {
    state.taken_last += static_cast<double>(kExtentBytes) / setting_.write_rate;
    at(state.taken_last, [this, stream] { written(stream, kExtentBytes); });
  }
  at(taken + setting_.round_trip / 2, [this, stream, bytes] {
    streams_[stream].in_window -= bytes;
    send_segments(stream);
  });
}

void LongLink::written(unsigned stream, std::uint64_t bytes) {
  if (now_ >= kWarmUpSeconds) written_bytes_ += bytes;
  const std::uint64_t frames = ++streams_[stream].frames;
  at(now_ + setting_.round_trip / 2, [this, stream, frames, bytes] {
    queue_.add_credit(bytes);
    EXPECT_FALSE(queue_.acknowledge(stream, frames).has_error());
    wake_streams();
  });
}

void LongLink::wake_streams() {
  for (unsigned stream = 0; stream < setting_.streams; ++stream) {
    if (streams_[stream].asking) ask_for_work(stream);
  }
}

}  // namespace vhdxm::transfer
