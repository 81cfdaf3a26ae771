#include "transfer/extent_queue.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace vhdxm::transfer {
namespace {

// Extents of the map that are looked up at a time.
constexpr std::size_t kMapExtents = 512;
// Items in one batch: small runs of a differencing disk go out together.
constexpr std::size_t kBatchItems = 64;
// Frames under way without an acknowledgement; bounds memory where frames have no payload.
constexpr std::uint64_t kInFlightMax = 16384;
// More credit than any link holds; keeps the sum from wrapping whatever a receiver grants.
constexpr std::uint64_t kCreditCeiling = std::uint64_t{1} << 50;

FrameKind frame_kind(vhdx::ExtentKind kind) {
  switch (kind) {
    case vhdx::ExtentKind::kData:
      return FrameKind::kData;
    case vhdx::ExtentKind::kZero:
      return FrameKind::kZero;
    case vhdx::ExtentKind::kUnmapped:
      return FrameKind::kUnmapped;
    case vhdx::ExtentKind::kParent:
      return FrameKind::kTransparent;
  }
  return FrameKind::kUnmapped;
}

}  // namespace

ExtentQueue::ExtentQueue(std::uint32_t extent_bytes, std::uint64_t credit_bytes,
                         std::uint64_t hash_seed,
                         std::function<void(std::uint32_t, const Ledger&)> on_disk_sent)
    : extent_bytes_(extent_bytes),
      hash_seed_(hash_seed),
      on_disk_sent_(std::move(on_disk_sent)),
      credit_(std::min(credit_bytes, kCreditCeiling)),
      ledger_(hash_seed) {}

void ExtentQueue::begin_disk(std::uint32_t disk, vhdx::DiskView& view) {
  std::unique_lock lock(mutex_);
  VHDXM_CHECK(!active_ && in_flight_ == 0 && ready_.empty());
  active_ = true;
  disk_ = disk;
  view_ = &view;
  mapped_to_ = 0;
  ledger_ = Ledger(hash_seed_);
  finish_if_sent(lock);  // a disk of no bytes is sent already
}

Result<void> ExtentQueue::refill_locked() {
  const std::uint64_t size = view_->geometry().virtual_size_bytes;
  while (ready_.empty() && mapped_to_ < size) {
    std::vector<vhdx::Extent> extents;
    VHDXM_TRY(mapped_to_, view_->map(mapped_to_, size - mapped_to_, extents, kMapExtents));
    for (const vhdx::Extent& extent : extents) {
      WorkItem item{.kind = frame_kind(extent.kind),
                    .virtual_offset = extent.virtual_offset,
                    .length = extent.length,
                    .file = extent.file,
                    .file_offset = extent.file_offset};
      if (item.kind != FrameKind::kData) {
        ready_.push_back(item);
        continue;
      }
      // Cut on the grid of extents, so that every cell travels in one frame.
      for (std::uint64_t left = extent.length; left > 0;) {
        const std::uint64_t to_grid = extent_bytes_ - item.virtual_offset % extent_bytes_;
        item.length = std::min(left, to_grid);
        ready_.push_back(item);
        item.virtual_offset += item.length;
        item.file_offset += item.length;
        left -= item.length;
      }
    }
  }
  return {};
}

bool ExtentQueue::take_locked(Batch& out) {
  if (ready_.empty() || in_flight_ + handed_out_ >= kInFlightMax) return false;
  out.disk = disk_;
  while (!ready_.empty() && out.items.size() < kBatchItems) {
    const WorkItem& item = ready_.front();
    const std::uint64_t payload = item.kind == FrameKind::kData ? item.length : 0;
    if (payload > extent_bytes_ - out.payload_bytes || payload > credit_) break;
    credit_ -= payload;
    out.payload_bytes += payload;
    out.items.push_back(item);
    ready_.pop_front();
  }
  out.credit_used = out.payload_bytes;
  handed_out_ += out.items.size();
  return !out.items.empty();
}

Result<ExtentQueue::Pull> ExtentQueue::pull(Batch& out, std::chrono::milliseconds wait) {
  out = Batch{};
  std::unique_lock lock(mutex_);
  const auto until = std::chrono::steady_clock::now() + wait;
  for (;;) {
    if (stopped_) return Pull::kStopped;
    if (active_) {
      VHDXM_TRY_VOID(refill_locked());
      if (take_locked(out)) return Pull::kBatch;
    }
    if (changed_.wait_until(lock, until) == std::cv_status::timeout) return Pull::kIdle;
  }
}

void ExtentQueue::note_sent(std::uint32_t stream, const Batch& batch,
                            std::span<const Sent> frames) {
  bool credit_back = false;
  {
    const std::lock_guard lock(mutex_);
    auto& in_flight = streams_[stream].in_flight;
    in_flight.insert(in_flight.end(), frames.begin(), frames.end());
    in_flight_ += frames.size();
    handed_out_ -= batch.items.size();
    std::uint64_t used = 0;
    for (const Sent& sent : frames) {
      if (sent.header.kind == FrameKind::kData) used += sent.header.raw_length;
    }
    credit_back = used < batch.credit_used;
    credit_ = std::min(credit_ + (batch.credit_used - used), kCreditCeiling);
  }
  if (credit_back) changed_.notify_all();
}

Result<void> ExtentQueue::acknowledge_locked(std::uint32_t stream, std::uint64_t frames) {
  Stream& state = streams_[stream];
  if (frames < state.acknowledged || frames - state.acknowledged > state.in_flight.size()) {
    return Error{.code = Errc::kProtocol,
                 .where = "frames acknowledged that were not sent",
                 .found = frames,
                 .expected = state.acknowledged + state.in_flight.size()};
  }
  for (; state.acknowledged < frames; ++state.acknowledged) {
    ledger_.add(state.in_flight.front().header);
    state.in_flight.pop_front();
    --in_flight_;
  }
  return {};
}

Result<void> ExtentQueue::acknowledge(std::uint32_t stream, std::uint64_t frames) {
  std::unique_lock lock(mutex_);
  VHDXM_TRY_VOID(acknowledge_locked(stream, frames));
  finish_if_sent(lock);
  return {};
}

Result<std::uint64_t> ExtentQueue::requeue(std::uint32_t stream, std::uint64_t frames) {
  std::unique_lock lock(mutex_);
  VHDXM_TRY_VOID(acknowledge_locked(stream, frames));
  Stream& state = streams_[stream];
  std::uint64_t bytes = 0;
  in_flight_ -= state.in_flight.size();
  while (!state.in_flight.empty()) {
    const Sent& sent = state.in_flight.back();
    if (sent.header.kind == FrameKind::kData) {
      credit_ = std::min(credit_ + sent.header.raw_length, kCreditCeiling);
      bytes += sent.header.raw_length;
    }
    ready_.push_front(sent.again);
    state.in_flight.pop_back();
  }
  finish_if_sent(lock);
  changed_.notify_all();
  return bytes;
}

void ExtentQueue::give_back(Batch batch) {
  {
    const std::lock_guard lock(mutex_);
    credit_ = std::min(credit_ + batch.credit_used, kCreditCeiling);
    handed_out_ -= batch.items.size();
    ready_.insert(ready_.begin(), batch.items.begin(), batch.items.end());
  }
  changed_.notify_all();
}

void ExtentQueue::finish_if_sent(std::unique_lock<std::mutex>& lock) {
  changed_.notify_all();
  if (!active_ || in_flight_ > 0 || handed_out_ > 0 || !ready_.empty()) return;
  if (mapped_to_ < view_->geometry().virtual_size_bytes) return;
  active_ = false;
  const std::uint32_t disk = disk_;
  const Ledger ledger = ledger_;
  lock.unlock();
  on_disk_sent_(disk, ledger);
}

void ExtentQueue::add_credit(std::uint64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    credit_ = std::min(credit_ + std::min(bytes, kCreditCeiling), kCreditCeiling);
  }
  changed_.notify_all();
}

ExtentQueue::StreamState ExtentQueue::stream_state(std::uint32_t stream) const {
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return {};
  return {.acknowledged = found->second.acknowledged, .in_flight = found->second.in_flight.size()};
}

void ExtentQueue::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

bool ExtentQueue::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

}  // namespace vhdxm::transfer
