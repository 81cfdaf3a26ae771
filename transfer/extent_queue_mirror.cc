// The part of ExtentQueue that sends guests' writes before their turn.
//
// Bytes go in turns: what guests write and what is copied in the background get as much of the link
// each, so that guests go on, and so does the pass, to its end.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "transfer/extent_queue.h"

namespace vhdxm::transfer {
namespace {

using MirrorClock = std::chrono::steady_clock;

// Parts in one batch: whoever writes many small blocks at a time shares a way.
constexpr std::size_t kMirroredBatchItems = 32;
constexpr std::uint64_t kCopyBatchBytesMin = 64 * 1024;
// Of the background copy, frames without payload: they take no credit.
constexpr std::uint64_t kCopyFramesMax = 256;
// Frames and items under way beyond which no write goes before its turn.
constexpr std::uint64_t kUnderWayMax = 8192;
constexpr std::size_t kMirrorMapExtents = 512;

}  // namespace

void ExtentQueue::start_mirroring(const Mirroring& how) {
  const std::lock_guard lock(mutex_);
  VHDXM_CHECK(!active_ && in_flight_ == 0);
  if (stopped_) return;
  mirroring_ = how;
  mirroring_->copy_bytes_max = std::min(how.copy_bytes_max, credit_bytes_ / 2);
  mirror_state_.on = true;
  mirror_state_.gave_up = false;
}

void ExtentQueue::set_mirror_patience(MirrorClock::duration patience) {
  const std::lock_guard lock(mutex_);
  if (!mirroring_) return;
  mirroring_->patience = patience;
  wake_mirrored_locked();
}

void ExtentQueue::stop_mirroring() {
  {
    const std::lock_guard lock(mutex_);
    stop_mirroring_locked();
  }
  changed_.notify_all();
}

// The running pass goes on to keep apart what is on its way.
void ExtentQueue::stop_mirroring_locked() {
  mirroring_.reset();
  mirror_state_.on = false;
  wake_mirrored_locked();
}

void ExtentQueue::wake_mirrored_locked() {
  for (const auto& [write, waiter] : mirrored_waiters_) waiter->notify_one();
}

ExtentQueue::MirrorState ExtentQueue::mirror_state() const {
  const std::lock_guard lock(mutex_);
  return mirror_state_;
}

void ExtentQueue::begin_mirrored_pass_locked() {
  mirrored_pass_ = mirroring_.has_value();
  busy_.clear();
  copying_bytes_ = 0;
  mirrored_under_way_ = 0;
  mirrored_turn_bytes_ = 0;
  copy_turn_bytes_ = kCopyBatchBytesMin;
  close_at_.reset();
  pass_begun_ = last_answer_ = MirrorClock::now();
}

std::uint64_t ExtentQueue::copy_batch_bytes_locked() const {
  if (!mirrored_pass_ || !mirroring_) return extent_bytes_;
  return std::clamp<std::uint64_t>(mirroring_->copy_bytes_max / 4, kCopyBatchBytesMin,
                                   extent_bytes_);
}

void ExtentQueue::mirror(std::uint32_t disk, std::uint64_t offset, std::uint64_t length,
                         std::uint64_t disk_bytes) {
  std::unique_lock lock(mutex_);
  if (!mirroring_ || length == 0) return;
  if (length > kMirroredBytesMax) {
    ++mirror_state_.left_dirty;
    return;
  }
  const std::uint64_t write = mirrored_.add(disk, offset, length, disk_bytes, extent_bytes_);
  const auto came = MirrorClock::now();
  std::condition_variable answered;
  mirrored_waiters_.emplace(write, &answered);
  changed_.notify_one();  // one stream takes all that waits
  while (mirroring_ && !mirrored_.done(write)) {
    const auto silent = std::max(came, last_answer_) + mirroring_->patience;
    const auto until = std::min(
        silent, came + std::max<MirrorClock::duration>(kMirroredWaitMax, mirroring_->patience));
    if (MirrorClock::now() >= until) {
      // While no frame may go, the other side has something else to do, and is not asked.
      if (active_ && until == silent) {
        mirror_state_.gave_up = true;
        stop_mirroring_locked();
      }
      break;
    }
    answered.wait_until(lock, until);
  }
  ++(mirrored_.done(write) ? mirror_state_.writes : mirror_state_.left_dirty);
  mirrored_.drop(write);
  mirrored_waiters_.erase(write);
  // Who pulls may wait for the pass to have nothing left to wait for.
  if (!mirroring_) changed_.notify_all();
}

Result<bool> ExtentQueue::take_next_locked(Batch& out) {
  if (!mirrored_pass_) return take_locked(out);
  // However many writes come: those after this moment are not of this pass.
  if (live_at_ == live_.size() && ready_.empty()) (void)may_close_locked();
  const bool mirrored_first = mirrored_turn_bytes_ < copy_turn_bytes_;
  if (mirrored_first) {
    VHDXM_TRY(const bool took, take_mirrored_locked(out));
    if (took) return true;
  }
  const std::uint64_t payload = ready_.empty() ? 0 : first_piece(ready_.front()).payload_bytes();
  const std::uint64_t frames = in_flight_ + handed_out_ - mirrored_under_way_;
  const bool crowded =
      copying_bytes_ > 0 && mirroring_ && copying_bytes_ + payload > mirroring_->copy_bytes_max;
  if (!crowded && (frames < kCopyFramesMax || !mirroring_) && take_locked(out)) {
    copying_bytes_ += out.payload_bytes;
    copy_turn_bytes_ = std::max(out.payload_bytes, kDirtyPageBytes);
    mirrored_turn_bytes_ = 0;
    return true;
  }
  return mirrored_first ? Result<bool>(false) : take_mirrored_locked(out);
}

bool ExtentQueue::may_take_locked(const MirroredWrites::Part& part, const Batch& out) const {
  if (close_at_ && part.write > *close_at_) return false;
  if (!out.items.empty() && part.disk != out.disk) return false;
  if (part.length > extent_bytes_ - out.payload_bytes || part.length > credit_) return false;
  const auto busy = busy_.find(part.disk);
  return busy == busy_.end() || !busy->second.overlaps(part.offset, part.length);
}

// The order that makes it right is the background copy's: the pages are clean before they are read,
// and nothing older of them is on its way.
Result<bool> ExtentQueue::take_mirrored_locked(Batch& out) {
  if (!mirroring_ || in_flight_ + handed_out_ >= kUnderWayMax) return false;
  auto& waiting = mirrored_.waiting();
  std::vector<vhdx::Extent> extents;
  for (auto at = waiting.begin(); at != waiting.end() && out.items.size() < kMirroredBatchItems;) {
    if (!may_take_locked(*at, out)) {
      ++at;
      continue;
    }
    const MirroredWrites::Part part = *at;
    at = waiting.erase(at);
    const LiveSource& from = live_[part.disk];
    out.disk = part.disk;
    out.pass = pass_;
    out.sector_bytes = from.view->geometry().logical_sector_bytes;
    from.dirty->clean(part.offset, part.length);
    const std::uint64_t end = part.offset + part.length;
    for (std::uint64_t to = part.offset; to < end;) {
      extents.clear();
      auto mapped = from.view->map(to, end - to, extents, kMirrorMapExtents);
      if (mapped.has_error()) {
        from.dirty->mark(part.offset, part.length);
        return std::move(mapped).error();
      }
      to = *mapped;
      for (const vhdx::Extent& extent : extents) {
        WorkItem& item = out.items.emplace_back(work_of(extent));
        item.mirrored = part.write;
        out.payload_bytes += item.payload_bytes();
      }
    }
    busy_[part.disk].add(part.offset, part.length);
    pass_bytes_.all += part.length;
    pass_bytes_.mirrored += part.length;
    mirror_state_.bytes += part.length;
    mirrored_turn_bytes_ += part.length;
    // may_take_locked() looks at what is left of it.
    const std::uint64_t used = out.payload_bytes - out.credit_used;
    credit_ -= used;
    credit_used_ += used;
    out.credit_used += used;
  }
  if (out.items.empty()) return false;
  out.mirrored = true;
  most_.credit_bytes = std::max(most_.credit_bytes, credit_used_);
  handed_out_ += out.items.size();
  mirrored_under_way_ += out.items.size();
  return true;
}

// A frame was acknowledged, or is to be sent again and dirty.
void ExtentQueue::settle_locked(const Sent& sent, bool arrived) {
  if (!mirrored_pass_) return;
  const FrameHeader& frame = sent.header;
  busy_[frame.disk].remove(frame.virtual_offset, frame.raw_length);
  const std::uint64_t write = sent.again.mirrored;
  if (write == 0) {
    if (frame.kind == FrameKind::kData) copying_bytes_ -= frame.raw_length;
    return;
  }
  --mirrored_under_way_;
  if (!arrived) {
    mirrored_.came_back({write, frame.disk, frame.virtual_offset, frame.raw_length});
    return;
  }
  mirrored_.arrived(write, frame.raw_length);
  last_answer_ = MirrorClock::now();
  if (!mirrored_.done(write)) return;
  const auto waiter = mirrored_waiters_.find(write);
  if (waiter != mirrored_waiters_.end()) waiter->second->notify_one();
}

std::optional<MirrorClock::time_point> ExtentQueue::closes_at_locked() const {
  if (!active_ || !mirrored_pass_ || !mirroring_ || close_at_) return std::nullopt;
  if (live_at_ < live_.size() || !ready_.empty()) return std::nullopt;
  return pass_begun_ + mirroring_->pass_min;
}

// Writes go on coming: the pass is over when those are there that had come when all else was.
bool ExtentQueue::may_close_locked() {
  if (!mirrored_pass_ || !mirroring_) return true;
  if (!close_at_) {
    const std::uint64_t copying = in_flight_ + handed_out_ - mirrored_under_way_;
    if (copying > 0 || MirrorClock::now() < *closes_at_locked()) return false;
    close_at_ = mirrored_.last();
  }
  return !mirrored_.waits_up_to(*close_at_);
}

}  // namespace vhdxm::transfer
