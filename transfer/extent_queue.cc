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
// Hashes are given back in so large pieces: few messages, and the receiver never runs dry.
constexpr std::uint32_t kHashesToldAt = kCellHashesMax / 4;

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

WorkItem ExtentQueue::work_of(const vhdx::Extent& extent) {
  return {.kind = frame_kind(extent.kind),
          .virtual_offset = extent.virtual_offset,
          .length = extent.length,
          .file = extent.file,
          .file_offset = extent.file_offset};
}

ExtentQueue::ExtentQueue(std::uint32_t extent_bytes, std::uint64_t credit_bytes,
                         std::uint64_t hash_seed,
                         std::function<void(std::uint32_t, const Ledger&)> on_disk_sent,
                         std::function<void(std::uint32_t, std::uint32_t)> on_hashes_used)
    : extent_bytes_(extent_bytes),
      hash_seed_(hash_seed),
      on_disk_sent_(std::move(on_disk_sent)),
      on_hashes_used_(std::move(on_hashes_used)),
      credit_bytes_(std::min(credit_bytes, kCreditCeiling)),
      credit_(credit_bytes_) {}

void ExtentQueue::begin_disk(std::uint32_t disk, vhdx::DiskView& view, SharedRanges held,
                             std::uint32_t pass) {
  std::unique_lock lock(mutex_);
  VHDXM_CHECK(!active_ && in_flight_ == 0 && ready_.empty() && held_ready_.empty());
  held_ = std::move(held);
  held_passed_ = 0;
  held_left_ = 0;
  hashes_used_ = 0;
  hashes_.clear();
  for (const HeldRange& range : held_) {
    held_left_ += (range.length + kCellBytes - 1) / kCellBytes;
  }
  active_ = true;
  pass_ = pass;
  disk_ = disk;
  view_ = &view;
  mapped_to_ = 0;
  ledgers_.insert_or_assign(disk, Ledger(hash_seed_));
  finish_if_sent(lock);  // a disk of no bytes is sent already
}

void ExtentQueue::begin_pass(std::uint32_t pass, std::vector<LiveSource> disks,
                             std::function<void()> on_sent) {
  {
    const std::lock_guard lock(mutex_);
    VHDXM_CHECK(!active_ && in_flight_ == 0 && ready_.empty() && held_ready_.empty());
    VHDXM_CHECK(!disks.empty());
    active_ = true;
    pass_ = pass;
    live_ = std::move(disks);
    live_at_ = 0;
    taken_to_ = 0;
    pass_bytes_ = {};
    disk_ = 0;
    view_ = live_[0].view;
    on_pass_sent_ = std::move(on_sent);
    begin_mirrored_pass_locked();
  }
  // Whoever pulls finds out whether there is anything to be sent.
  changed_.notify_all();
}

Ledger ExtentQueue::ledger(std::uint32_t disk) const {
  const std::lock_guard lock(mutex_);
  const auto found = ledgers_.find(disk);
  return found == ledgers_.end() ? Ledger(hash_seed_) : found->second;
}

ExtentQueue::PassBytes ExtentQueue::pass_bytes() const {
  const std::lock_guard lock(mutex_);
  return pass_bytes_;
}

// A batch is of one disk, and is read as soon as it is pulled: what is taken here was clean for a
// short while only. Pages of one extent are taken together, so that small writes share a batch.
Result<void> ExtentQueue::refill_pass_locked() {
  const std::uint64_t batch_bytes = copy_batch_bytes_locked();
  std::uint64_t bytes = 0;
  while (live_at_ < live_.size() && ready_.empty()) {
    const LiveSource& from = live_[live_at_];
    disk_ = static_cast<std::uint32_t>(live_at_);
    view_ = from.view;
    while (bytes + kDirtyPageBytes <= batch_bytes && ready_.size() < kBatchItems) {
      const auto range = from.dirty->take(taken_to_, batch_bytes - bytes);
      if (!range) break;
      taken_to_ = range->offset + range->length;
      bytes += range->length;
      VHDXM_TRY_VOID(add_dirty_locked(from, *range));
    }
    if (!ready_.empty()) break;
    ++live_at_;
    taken_to_ = 0;
  }
  most_.queued_items = std::max<std::uint64_t>(most_.queued_items, ready_.size());
  return {};
}

// What a frame is on its way of stays dirty, and is for the next pass.
Result<void> ExtentQueue::add_dirty_locked(const LiveSource& from, const DirtyRange& range) {
  const std::uint64_t end = range.offset + range.length;
  std::vector<vhdx::Extent> extents;
  for (std::uint64_t at = range.offset; at < end;) {
    BusyRanges::Run run{.length = end - at, .busy = false};
    if (mirrored_pass_) run = busy_[disk_].run(at, end - at);
    if (run.busy) {
      from.dirty->mark(at, run.length);
      at += run.length;
      continue;
    }
    extents.clear();
    auto mapped = view_->map(at, run.length, extents, kMapExtents);
    if (mapped.has_error()) {
      from.dirty->mark(at, end - at);
      return std::move(mapped).error();
    }
    if (mirrored_pass_) busy_[disk_].add(at, *mapped - at);
    pass_bytes_.all += *mapped - at;
    at = *mapped;
    for (const vhdx::Extent& extent : extents) ready_.push_back(work_of(extent));
  }
  return {};
}

Result<void> ExtentQueue::refill_locked() {
  if (!live_.empty()) return ready_.empty() ? refill_pass_locked() : Result<void>{};
  const std::uint64_t size = view_->geometry().virtual_size_bytes;
  while (ready_.empty() && mapped_to_ < size) {
    std::uint64_t end = size;
    if (held_passed_ < held_.size()) {
      const HeldRange& next = held_[held_passed_];
      if (next.offset == mapped_to_) {
        mapped_to_ = next.end();
        ++held_passed_;
        continue;
      }
      end = next.offset;
    }
    std::vector<vhdx::Extent> extents;
    VHDXM_TRY(mapped_to_, view_->map(mapped_to_, end - mapped_to_, extents, kMapExtents));
    for (const vhdx::Extent& extent : extents) ready_.push_back(work_of(extent));
  }
  most_.queued_items = std::max<std::uint64_t>(most_.queued_items, ready_.size());
  return {};
}

Result<void> ExtentQueue::refill_held_locked() {
  if (!held_ready_.empty() || hashes_.empty()) return {};
  Hashes& next = hashes_.front();
  const std::uint64_t size = view_->geometry().virtual_size_bytes;
  const std::uint64_t to_grid = extent_bytes_ - next.offset % extent_bytes_;
  const std::uint64_t cells = std::min<std::uint64_t>(next.left.size(), to_grid / kCellBytes);
  const std::uint64_t end = std::min(next.offset + cells * kCellBytes, size);

  auto held = std::make_shared<HeldCells>();
  held->virtual_offset = next.offset;
  for (std::uint64_t at = next.offset; at < end;) {
    std::vector<vhdx::Extent> extents;
    VHDXM_TRY(at, view_->map(at, end - at, extents, kMapExtents));
    for (const vhdx::Extent& extent : extents) held->parts.push_back(work_of(extent));
  }
  const auto used = next.left.begin() + static_cast<std::ptrdiff_t>(cells);
  held->hashes.assign(next.left.begin(), used);
  next.left.erase(next.left.begin(), used);
  held_ready_.push_back({.kind = FrameKind::kSame,
                         .virtual_offset = next.offset,
                         .length = end - next.offset,
                         .held = std::move(held)});
  next.offset = end;
  if (next.left.empty()) hashes_.pop_front();
  held_left_ -= cells;
  note_hashes_used_locked(static_cast<std::uint32_t>(cells));
  return {};
}

void ExtentQueue::note_hashes_used_locked(std::uint32_t cells) {
  hashes_used_ += cells;
  // None are owed any more when the last cell's has come.
  if (hashes_used_ < kHashesToldAt || held_left_ == 0) return;
  on_hashes_used_(disk_, std::exchange(hashes_used_, 0));
}

void ExtentQueue::add_hashes(std::uint64_t first_cell, std::vector<Hash128> hashes) {
  {
    const std::lock_guard lock(mutex_);
    VHDXM_CHECK(active_);
    if (hashes.empty()) return;
    hashes_.push_back({.offset = first_cell * kCellBytes, .left = {hashes.begin(), hashes.end()}});
  }
  changed_.notify_all();
}

// Data is cut on the grid of extents, so that every cell travels in one frame. Cut only when it is
// taken: a full disk may be one extent of the map and millions of frames.
WorkItem ExtentQueue::first_piece(WorkItem item) const {
  if (item.kind != FrameKind::kData) return item;
  item.length =
      std::min<std::uint64_t>(item.length, extent_bytes_ - item.virtual_offset % extent_bytes_);
  return item;
}

void ExtentQueue::drop_front_locked(std::deque<WorkItem>& from, std::uint64_t length) {
  WorkItem& front = from.front();
  front.virtual_offset += length;
  front.file_offset += length;
  front.length -= length;
  if (front.length > 0) return;
  from.pop_front();
  if (&from == &ready_ && came_back_ > 0) --came_back_;
}

void ExtentQueue::take_from_locked(std::deque<WorkItem>& from, Batch& out) {
  while (!from.empty() && out.items.size() < kBatchItems) {
    const WorkItem item = first_piece(from.front());
    const std::uint64_t payload = item.payload_bytes();
    if (payload > extent_bytes_ - out.payload_bytes || payload > credit_) break;
    credit_ -= payload;
    credit_used_ += payload;
    out.payload_bytes += payload;
    out.items.push_back(item);
    drop_front_locked(from, item.length);
  }
}

bool ExtentQueue::take_locked(Batch& out) {
  if (in_flight_ + handed_out_ >= kInFlightMax) return false;
  // What is to be sent again is a gap as well, and comes first: gaps are what a receiver must keep
  // account of.
  const bool again_only = in_flight_ + handed_out_ + came_back_ >= kInFlightMax;
  if (again_only) held_turn_ = false;
  out.disk = disk_;
  out.pass = pass_;
  out.sector_bytes = view_->geometry().logical_sector_bytes;
  take_from_locked(held_turn_ ? held_ready_ : ready_, out);
  if (out.items.empty() && !again_only) {
    take_from_locked(held_turn_ ? ready_ : held_ready_, out);
  }
  held_turn_ = !held_turn_;
  out.credit_used = out.payload_bytes;
  most_.credit_bytes = std::max(most_.credit_bytes, credit_used_);
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
      VHDXM_TRY_VOID(refill_held_locked());
      VHDXM_TRY(const bool took, take_next_locked(out));
      if (took) return Pull::kBatch;
      // A pass may turn out to be over when nothing is left to be acknowledged.
      if (pass_is_sent_locked()) finish_if_sent(lock);
      if (!lock.owns_lock()) lock.lock();
      if (stopped_) return Pull::kStopped;
    }
    // A pass that could be over but for its least time has to be looked at then.
    const auto due = closes_at_locked().value_or(until);
    const auto wake = due > std::chrono::steady_clock::now() ? std::min(until, due) : until;
    if (changed_.wait_until(lock, wake) == std::cv_status::timeout && wake == until) {
      return Pull::kIdle;
    }
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
    most_.frames = std::max(most_.frames, in_flight_);
    handed_out_ -= batch.items.size();
    if (batch.mirrored) {
      mirrored_under_way_ += frames.size();
      mirrored_under_way_ -= batch.items.size();
    }
    std::uint64_t used = 0;
    for (const Sent& sent : frames) {
      if (sent.header.kind == FrameKind::kData) used += sent.header.raw_length;
    }
    credit_back = used < batch.credit_used;
    return_credit_locked(batch.credit_used - used);
    if (mirrored_pass_ && !batch.mirrored) copying_bytes_ -= batch.credit_used - used;
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
    const FrameHeader& frame = state.in_flight.front().header;
    ledgers_.try_emplace(frame.disk, Ledger(hash_seed_)).first->second.add(frame);
    settle_locked(state.in_flight.front(), true);
    state.in_flight.pop_front();
    --in_flight_;
    ++acknowledged_;
  }
  return {};
}

Result<void> ExtentQueue::acknowledge(std::uint32_t stream, std::uint64_t frames) {
  std::unique_lock lock(mutex_);
  VHDXM_TRY_VOID(acknowledge_locked(stream, frames));
  finish_if_sent(lock);
  return {};
}

Result<ExtentQueue::Requeued> ExtentQueue::requeue(std::uint32_t stream, std::uint64_t frames) {
  std::unique_lock lock(mutex_);
  VHDXM_TRY_VOID(acknowledge_locked(stream, frames));
  Stream& state = streams_[stream];
  Requeued again;
  in_flight_ -= state.in_flight.size();
  while (!state.in_flight.empty()) {
    const Sent& sent = state.in_flight.back();
    if (sent.header.kind == FrameKind::kData) {
      return_credit_locked(sent.header.raw_length);
      again.wire_bytes += sent.header.wire_length;
      again.saved_bytes += sent.header.raw_length - sent.header.wire_length;
    }
    again.read_bytes += sent.read_bytes;
    if (sent.header.kind == FrameKind::kZero) again.zero_bytes += sent.read_bytes;
    if (sent.header.kind == FrameKind::kSame) again.same_bytes += sent.read_bytes;
    if (live_.empty()) {
      ready_.push_front(sent.again);
      ++came_back_;
    } else {
      live_[sent.header.disk].dirty->mark(sent.header.virtual_offset, sent.header.raw_length);
    }
    settle_locked(sent, false);
    state.in_flight.pop_back();
  }
  finish_if_sent(lock);
  changed_.notify_all();
  return again;
}

void ExtentQueue::give_back(Batch batch) {
  {
    const std::lock_guard lock(mutex_);
    return_credit_locked(batch.credit_used);
    handed_out_ -= batch.items.size();
    if (live_.empty()) {
      ready_.insert(ready_.begin(), batch.items.begin(), batch.items.end());
      came_back_ += batch.items.size();
    } else {
      for (const WorkItem& item : batch.items) {
        live_[batch.disk].dirty->mark(item.virtual_offset, item.length);
        if (!mirrored_pass_) continue;
        busy_[batch.disk].remove(item.virtual_offset, item.length);
        if (item.mirrored != 0) {
          mirrored_.came_back({item.mirrored, batch.disk, item.virtual_offset, item.length});
        }
      }
      if (batch.mirrored) {
        mirrored_under_way_ -= batch.items.size();
      } else if (mirrored_pass_) {
        copying_bytes_ -= batch.credit_used;
      }
    }
  }
  changed_.notify_all();
}

// Whether a stream that waits could do something, now that the receiver answered: with every write
// of a guest that is mirrored comes an answer, and mostly nobody has to be woken for it.
bool ExtentQueue::may_find_work_locked() const {
  if (!active_ || in_flight_ == 0) return true;
  if (!ready_.empty() || !held_ready_.empty() || !hashes_.empty()) return true;
  if (live_.empty()) return mapped_to_ < view_->geometry().virtual_size_bytes;
  if (live_at_ < live_.size() || !mirrored_.waiting().empty()) return true;
  const auto closes_at = closes_at_locked();
  return closes_at && *closes_at <= std::chrono::steady_clock::now();
}

void ExtentQueue::finish_if_sent(std::unique_lock<std::mutex>& lock) {
  if (may_find_work_locked()) changed_.notify_all();
  if (!active_ || in_flight_ > 0 || handed_out_ > 0 || !ready_.empty()) return;
  if (!live_.empty()) {
    if (!pass_is_sent_locked()) return;
    active_ = false;
    live_.clear();
    const auto on_sent = std::exchange(on_pass_sent_, {});
    lock.unlock();
    on_sent();
    return;
  }
  if (held_left_ > 0 || !held_ready_.empty()) return;
  if (mapped_to_ < view_->geometry().virtual_size_bytes) return;
  active_ = false;
  const std::uint32_t disk = disk_;
  const Ledger ledger = ledgers_.at(disk);
  lock.unlock();
  on_disk_sent_(disk, ledger);
}

bool ExtentQueue::pass_is_sent_locked() {
  if (!active_ || live_.empty() || live_at_ < live_.size() || !ready_.empty()) return false;
  if (!may_close_locked()) return false;
  return in_flight_ == 0 && handed_out_ == 0;
}

// A receiver may grant more than it took.
void ExtentQueue::return_credit_locked(std::uint64_t bytes) {
  credit_ = std::min(credit_ + bytes, kCreditCeiling);
  credit_used_ -= std::min(credit_used_, bytes);
}

void ExtentQueue::add_credit(std::uint64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    return_credit_locked(std::min(bytes, kCreditCeiling));
    if (!may_find_work_locked()) return;
  }
  changed_.notify_all();
}

ExtentQueue::StreamState ExtentQueue::stream_state(std::uint32_t stream) const {
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return {};
  return {.acknowledged = found->second.acknowledged, .in_flight = found->second.in_flight.size()};
}

std::uint64_t ExtentQueue::acknowledged() const {
  const std::lock_guard lock(mutex_);
  return acknowledged_;
}

bool ExtentQueue::waits_for_receiver() const {
  const std::lock_guard lock(mutex_);
  return active_ && handed_out_ == 0;
}

ExtentQueue::HighWater ExtentQueue::high_water() const {
  const std::lock_guard lock(mutex_);
  return most_;
}

void ExtentQueue::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    stop_mirroring_locked();
  }
  changed_.notify_all();
}

bool ExtentQueue::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

}  // namespace vhdxm::transfer
