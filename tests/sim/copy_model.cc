#include "tests/sim/copy_model.h"

#include <algorithm>
#include <utility>

namespace vhdxm::sim {

using transfer::kDirtyPageBytes;

const char* to_string(Planted planted) {
  switch (planted) {
    case Planted::kNone:
      return "nothing";
    case Planted::kStalePrepared:
      return "a stale PREPARED is accepted";
    case Planted::kMarkBeforeWrite:
      return "a page is marked before the write lands";
    case Planted::kWriteAfterLedger:
      return "a write is admitted between ledger and release";
    case Planted::kReadOvertakesMirror:
      return "a background read overtakes a mirrored write";
    case Planted::kDeadStreamWrites:
      return "a dead stream's frame is written after the newer copy";
  }
  return "unknown";
}

void CopyModel::restart() {
  for (std::uint32_t disk = 0; disk < maps_.size(); ++disk) {
    for (std::uint32_t page = 0; page < kPages; ++page) {
      reserve(disk, page);
      mark(disk, page);
    }
  }
  for (Stream& stream : streams_) stream = {};
  sent_.assign(sent_.size(), {});
  applied_.assign(applied_.size(), {});
  cursor_disk_ = 0;
  cursor_ = 0;
}

void CopyModel::cut() {
  for (Stream& stream : streams_) {
    for (const Frame& frame : stream.unacked) give_up(frame);
    // What arrived is written; nobody is told.
    std::deque<Frame> queue = std::move(stream.queue);
    stream = {};
    stream.queue = std::move(queue);
  }
  for (const Reading& reading : readings_) give_up(reading.frame);
  readings_.clear();
}

void CopyModel::target_died() {
  for (Stream& stream : streams_) stream.queue.clear();
  late_.clear();
}

void CopyModel::reserve(std::uint32_t disk, std::uint32_t page) {
  maps_[disk]->reserve(page * kDirtyPageBytes, kDirtyPageBytes);
}

void CopyModel::mark(std::uint32_t disk, std::uint32_t page) {
  maps_[disk]->mark(page * kDirtyPageBytes, kDirtyPageBytes);
}

bool CopyModel::hasten(std::uint32_t disk, std::uint32_t page, const std::vector<PageStore>& disks,
                       std::uint64_t write, std::uint32_t stream) {
  if (streams_[stream].broken) return false;
  maps_[disk]->clean(page * kDirtyPageBytes, kDirtyPageBytes);
  const Frame frame{disk, page, disks[disk].now[page], write};
  locks_[index(disk, page)] = true;
  streams_[stream].unacked.push_back(frame);
  streams_[stream].network.push_back(frame);
  return true;
}

bool CopyModel::take_page() {
  if (readings_.size() >= 2) return false;
  if (cursor_disk_ >= maps_.size()) {
    // The next pass.
    for (const Stream& stream : streams_) {
      for (const Frame& frame : stream.unacked) {
        if (frame.mirrored == 0) return false;
      }
    }
    if (!readings_.empty()) return false;
    cursor_disk_ = 0;
    cursor_ = 0;
  }
  const auto range = maps_[cursor_disk_]->take(cursor_, kDirtyPageBytes);
  if (!range) {
    ++cursor_disk_;
    cursor_ = 0;
    return true;
  }
  const Frame frame{cursor_disk_, static_cast<std::uint32_t>(range->offset / kDirtyPageBytes)};
  cursor_ = range->offset + kDirtyPageBytes;
  const bool waits = planted_ != Planted::kReadOvertakesMirror;
  if (waits && locked(frame.disk, frame.page)) {
    mark(frame.disk, frame.page);  // A mirrored write is under way: in the next pass.
    return true;
  }
  if (waits) locks_[index(frame.disk, frame.page)] = true;
  readings_.push_back({frame});
  return true;
}

bool CopyModel::read_page(const std::vector<PageStore>& disks, std::mt19937_64& random) {
  if (readings_.empty()) return false;
  Reading& reading = readings_[random() % readings_.size()];
  if (reading.read) return false;
  reading.frame.value = disks[reading.frame.disk].now[reading.frame.page];
  reading.read = true;
  return true;
}

bool CopyModel::send_page(std::uint32_t stream, std::mt19937_64& random) {
  if (readings_.empty() || streams_[stream].broken) return false;
  const std::size_t which = random() % readings_.size();
  if (!readings_[which].read) return false;
  streams_[stream].unacked.push_back(readings_[which].frame);
  streams_[stream].network.push_back(readings_[which].frame);
  readings_.erase(readings_.begin() + static_cast<std::ptrdiff_t>(which));
  return true;
}

bool CopyModel::arrive(std::uint32_t stream) {
  Stream& s = streams_[stream];
  if (s.network.empty()) return false;
  s.queue.push_back(s.network.front());
  s.network.pop_front();
  return true;
}

bool CopyModel::apply(std::uint32_t stream, std::vector<PageStore>& disks) {
  Stream& s = streams_[stream];
  if (s.queue.empty()) return false;
  const Frame frame = s.queue.front();
  s.queue.pop_front();
  disks[frame.disk].now[frame.page] = frame.value;
  add(applied_, frame);
  ++s.applied;
  return true;
}

bool CopyModel::apply_late(std::vector<PageStore>& disks) {
  // As late as it takes to do harm.
  const auto late = std::find_if(late_.begin(), late_.end(), [&](const Frame& frame) {
    return disks[frame.disk].now[frame.page] > frame.value;
  });
  if (late == late_.end()) return false;
  disks[late->disk].now[late->page] = late->value;
  late_.erase(late);
  return true;
}

bool CopyModel::acknowledge(std::uint32_t stream) {
  Stream& s = streams_[stream];
  // After a cut the frames that come to be applied are no longer waited for.
  if (s.applied == 0 || s.unacked.size() < s.applied) return false;
  confirm(s);
  return true;
}

void CopyModel::confirm(Stream& stream) {
  for (; stream.applied > 0; --stream.applied) {
    const Frame frame = stream.unacked.front();
    stream.unacked.pop_front();
    add(sent_, frame);
    unlock(frame);
    if (frame.mirrored != 0) answers_.push_back({frame.mirrored, false});
  }
}

bool CopyModel::break_stream(std::uint32_t stream) {
  Stream& s = streams_[stream];
  if (s.broken) return false;
  s.broken = true;
  s.network.clear();
  return true;
}

bool CopyModel::drain(std::uint32_t stream) {
  Stream& s = streams_[stream];
  if (!s.broken) return false;
  if (!s.queue.empty()) {
    if (planted_ != Planted::kDeadStreamWrites) return false;
    late_.insert(late_.end(), s.queue.begin(), s.queue.end());
    s.queue.clear();
  }
  confirm(s);
  for (const Frame& frame : s.unacked) give_up(frame);
  s = {};
  return true;
}

void CopyModel::unlock(const Frame& frame) {
  locks_[index(frame.disk, frame.page)] = false;
}

void CopyModel::give_up(const Frame& frame) {
  mark(frame.disk, frame.page);
  unlock(frame);
  if (frame.mirrored != 0) answers_.push_back({frame.mirrored, true});
}

void CopyModel::add(std::vector<Hash128>& ledger, const Frame& frame) {
  std::uint64_t x = frame.value * 0x9e3779b97f4a7c15U + frame.page + 1;
  x ^= x >> 29;
  ledger[frame.disk] += Hash128{x * 0xbf58476d1ce4e5b9U, x * 0x94d049bb133111ebU};
}

bool CopyModel::clean() const {
  for (const Stream& stream : streams_) {
    if (!stream.unacked.empty() || !stream.network.empty() || stream.broken) return false;
  }
  if (!readings_.empty()) return false;
  for (const auto& map : maps_) {
    if (map->dirty_pages() != 0) return false;
  }
  return true;
}

bool CopyModel::quiet() const {
  for (const Stream& stream : streams_) {
    if (!stream.network.empty() || !stream.queue.empty()) return false;
  }
  return true;
}

}  // namespace vhdxm::sim
