// The guest, and the copier behind it.
#include <algorithm>

#include "tests/sim/notes.h"
#include "tests/sim/simulation.h"

namespace vhdxm::sim {

using Verdict = transfer::WriteGate::Verdict;

// Numbered, to a page that no write is under way to.
void Simulation::new_write() {
  if (writes_.size() >= 3) return;
  for (std::size_t host = 0; host < 2; ++host) {
    ModelHost& h = hosts_[host];
    if (!h.serves() && !h.held()) continue;
    // A guest that stands still resumes by itself now and then: somebody cancelled its migration.
    if (h.held() && with_guest_memory_ && !chance(4)) return;
    Write write{.disk = static_cast<std::uint32_t>(pick(disk_count_)),
                .page = static_cast<std::uint32_t>(pick(kPages)),
                .host = host};
    for (const Write& other : writes_) {
      if (other.disk == write.disk && other.page == write.page) return;
    }
    write.number = ++serial_;
    write.value = serial_ << 16 | write.disk << 8 | write.page;
    writes_.push_back(write);
    return;
  }
}

// True if it made a step.
bool Simulation::advance_write(Write& write) {
  ModelHost& h = hosts_[write.host];
  switch (write.stage) {
    case Write::Stage::kAtGate: {
      write.verdict = h.gate.admit();
      if (write.verdict == Verdict::kWait) return false;
      if (write.verdict == Verdict::kRefuse) {
        note("write {} is refused by host {}", write.number, write.host);
        end_write(write.number);
        return true;
      }
      note("write {} to page {}/{} is let through by host {}", write.number, write.disk, write.page,
           write.host);
      const bool marks = write.verdict == Verdict::kServeAndMark;
      if (marks) copy_.reserve(write.disk, write.page);
      if (marks && options_.planted == Planted::kMarkBeforeWrite) {
        copy_.mark(write.disk, write.page);
      }
      write.stage = Write::Stage::kAdmitted;
      return true;
    }
    case Write::Stage::kAdmitted:
      land(write);
      write.stage = Write::Stage::kLanded;
      return true;
    case Write::Stage::kLanded: {
      const bool marks = write.verdict == Verdict::kServeAndMark;
      if (marks && options_.planted != Planted::kMarkBeforeWrite) {
        copy_.mark(write.disk, write.page);
      }
      if (marks && mirrors()) {
        write.stage = Write::Stage::kWaiting;
      } else {
        acknowledge(write);
      }
      return true;
    }
    case Write::Stage::kWaiting: {
      // It is dirty: whenever nobody waits any more, that is enough.
      if (!mirrors() || write.host != from_) {
        acknowledge(write);
        return true;
      }
      const bool waits = options_.planted != Planted::kReadOvertakesMirror;
      if (waits && copy_.locked(write.disk, write.page)) return false;
      if (h.gate.untracked() != 0) return false;
      if (copy_.hasten(write.disk, write.page, h.disks, write.number,
                       static_cast<std::uint32_t>(pick(CopyModel::kStreams)))) {
        write.stage = Write::Stage::kMirrored;
      }
      return true;
    }
    case Write::Stage::kMirrored:
      return false;
  }
  return false;
}

bool Simulation::advance_some_write() {
  if (writes_.empty()) return false;
  return advance_write(writes_[pick(writes_.size())]);
}

void Simulation::land(Write& write) {
  hosts_[write.host].disks[write.disk].now[write.page] = write.value;
}

void Simulation::acknowledge(const Write& write) {
  note("write {} is acknowledged", write.number);
  hosts_[write.host].gate.finish(write.verdict);
  floor_[slot(write.disk, write.page)] = write.value;
  home_ = write.host;
  ++outcome_.acknowledged;
  end_write(write.number);
}

void Simulation::end_write(std::uint64_t number) {
  std::erase_if(writes_, [&](const Write& w) { return w.number == number; });
}

// Not while writes are held: those that wait then are let go, and dirty.
bool Simulation::mirrors() const {
  const ModelHost& source = hosts_[from_];
  return mirror_ && linked_ && source.gate.state() == transfer::WriteGate::State::kTracking &&
         source.source && source.source->may_copy();
}

// A mirrored write was not answered in time, or writes are to be held: nobody waits for any of them
// any more. What was sent is on its way all the same.
void Simulation::lose_patience() {
  const std::vector<Write> waiting = writes_;
  for (const Write& write : waiting) {
    if (write.stage != Write::Stage::kMirrored) continue;
    note("write {} is not waited for any longer", write.number);
    acknowledge(write);
  }
}

void Simulation::take_mirror_answers() {
  for (const CopyModel::MirrorAnswer& answer : copy_.take_answers()) {
    const auto write = std::find_if(writes_.begin(), writes_.end(), [&](const Write& w) {
      return w.number == answer.write && w.stage == Write::Stage::kMirrored;
    });
    if (write == writes_.end()) continue;
    if (answer.marked) {
      write->stage = Write::Stage::kWaiting;
    } else {
      ++outcome_.mirrored;
      acknowledge(Write(*write));
    }
  }
}

void Simulation::flush() {
  for (ModelHost& h : hosts_) {
    if (!h.serves()) continue;
    for (PageStore& disk : h.disks) disk.flush();
    flushed_ = floor_;
    return;
  }
}

bool Simulation::copy_something() {
  ModelHost& source = hosts_[from_];
  ModelHost& target = hosts_[1 - from_];
  const auto stream = static_cast<std::uint32_t>(pick(CopyModel::kStreams));
  // A write that was let through before writes were marked may still be about to land.
  const bool sends = linked_ && source.up && source.source && source.source->may_copy() &&
                     source.gate.untracked() == 0;
  const bool writes = target.up && target.target && target.target->may_write_data();
  bool did = false;
  switch (pick(8)) {
    case 0:
      did = sends && copy_.take_page();
      break;
    case 1:
      did = sends && copy_.read_page(source.disks, random_);
      break;
    case 2:
      did = sends && copy_.send_page(stream, random_);
      break;
    case 3:
      did = linked_ && writes && copy_.arrive(stream);
      break;
    case 4:
      did = writes && copy_.apply(stream, target.disks);
      break;
    case 5:
      did = linked_ && source.up && copy_.acknowledge(stream);
      break;
    case 6:
      did = linked_ && source.up && target.up && copy_.drain(stream);
      break;
    default:
      // It does not look at what the other objects think: it is a thread that was not joined.
      did = target.up && copy_.apply_late(target.disks);
  }
  take_mirror_answers();
  return did;
}

// All that can be done, without chance deciding about order.
bool Simulation::copy_all_once() {
  bool did = false;
  for (int i = 0; i < 24; ++i) did = copy_something() || did;
  return did;
}

}  // namespace vhdxm::sim
