// Hosts that die, start, lose each other and meet again.
#include <fmt/format.h>

#include <algorithm>

#include "tests/sim/notes.h"
#include "tests/sim/simulation.h"

namespace vhdxm::sim {

using namespace migration;

void Simulation::die(std::size_t host, bool loses_power) {
  ModelHost& h = hosts_[host];
  note("host {} dies{}", host, loses_power ? ", without power" : "");
  ++outcome_.deaths;
  h.up = false;
  h.faults.dies_at = test::StepFaults::kNever;
  h.faults.fails_at = test::StepFaults::kNever;
  h.source.reset();
  h.target.reset();
  h.answers.clear();
  h.ready = false;
  h.gate = transfer::WriteGate(true);
  std::erase_if(writes_, [&](const Write& w) { return w.host == host; });
  h.wants_start = false;
  cut();
  if (host != from_) copy_.target_died();
  if (!loses_power) return;
  for (PageStore& disk : h.disks) disk.lose_power(random_);
  h.folders.lose_power(random_);
  h.state.lose_power(random_);
  // Of a source that has released, nothing counts any more.
  if (host != home_) return;
  if (stands_ && host == from_) {
    released_lost_power_ = true;
  } else {
    floor_ = flushed_;
  }
}

bool Simulation::owns_all(std::size_t host) {
  ModelHost& h = hosts_[host];
  std::size_t owned = 0;
  for (std::uint32_t disk = 0; disk < disk_count_; ++disk) {
    const DiskPlace place{"disks", fmt::format("d{}.vhdx", disk)};
    const bool there = h.folders.at("disks").exists(place.name).value();
    if (there && h.store.check_writable(place).has_value()) ++owned;
  }
  // Without its record, a job that was beginning or ending leaves some of its disks in doubt.
  if (owned != 0 && owned != disk_count_ && !record_lost_) fail("the disks of a job are split");
  return owned == disk_count_;
}

// A release that was lost with its record: what the source had not flushed may be lost, too.
void Simulation::owns_after_all() {
  if (released_lost_power_) floor_ = flushed_;
  released_lost_power_ = false;
}

bool Simulation::start(std::size_t host) {
  ModelHost& h = hosts_[host];
  if (h.up || h.destroyed) return false;
  note("host {} starts", host);
  h.up = true;
  in_process(host, [&] {
    const auto recovered = h.store.recover();
    if (recovered.has_error() || !recovered->unreadable.empty()) {
      note("it cannot");
      h.up = false;
      return;
    }
    for (const JobRecord& record : recovered->jobs) {
      if (record.state == JobState::kReleased) h.source = std::make_unique<HandoverSource>(record);
      if (record.state == JobState::kPrepared) h.target = std::make_unique<HandoverTarget>(record);
    }
    for (const JobRecord& record : recovered->doubtful_jobs) {
      note("it is in doubt");
      ++outcome_.doubts;
      h.source = std::make_unique<HandoverSource>(HandoverSource::in_doubt(record));
    }
    if (owns_all(host)) {
      if (h.source || h.target) fail("an owner with a job that is not over");
      h.gate = transfer::WriteGate();
      if (host == from_) {
        released_ = stands_ = false;
        owns_after_all();
      } else if (released_) {
        taken_ = true;
      }
      note("it serves");
    }
    if (h.source) h.source->start();
    if (h.target) h.target->start();
  });
  if (h.up) pump(host);
  return h.up;
}

void Simulation::cut() {
  if (!linked_) return;
  note("the connection is cut");
  linked_ = false;
  network_.clear();
  twice_.reset();
  stale_.reset();
  copy_.cut();
  take_mirror_answers();
  mirror_ = false;
  for (std::size_t host = 0; host < 2; ++host) {
    ModelHost& h = hosts_[host];
    if (!h.up) continue;
    if (h.source) h.source->on_disconnected();
    if (h.target) h.target->on_disconnected();
    pump(host);
  }
}

bool Simulation::connect() {
  if (linked_ || !hosts_[0].up || !hosts_[1].up) return false;
  // What came over the connection before is written, or there is nobody any more who writes it.
  const ModelHost& target = hosts_[1 - from_];
  if (!target.target || !target.target->may_write_data()) copy_.target_died();
  if (!copy_.quiet()) return false;
  note("they meet");
  linked_ = true;
  copy_.restart();
  for (std::size_t host = 0; host < 2; ++host) {
    ModelHost& h = hosts_[host];
    if (h.source) h.source->on_connected();
    if (h.target) h.target->on_connected();
    pump(host);
    if (!linked_) return true;
  }
  return true;
}

// Two drivers that find out that one of them has no such job any more.
void Simulation::reconcile_jobs() {
  if (!linked_) return;
  for (std::size_t host = 0; host < 2; ++host) {
    ModelHost& h = hosts_[host];
    ModelHost& other = hosts_[1 - host];
    if (h.source && !h.source->committed() &&
        !(other.target && other.target->record().job == h.source->record().job)) {
      h.source->cancel(HandoverEnd::Kind::kNetwork);
      pump(host);
    }
    if (!linked_) return;
    if (h.target && !h.target->owns() &&
        !(other.source && other.source->record().job == h.target->record().job)) {
      if (h.target->cancel(HandoverEnd::Kind::kNetwork).has_value()) pump(host);
    }
    if (h.target && h.target->owns() && !other.source) h.target.reset();
    if (!linked_) return;
  }
}

// Somebody removes what a source has in its state folder.
void Simulation::lose_record(std::size_t host) {
  ModelHost& h = hosts_[host];
  const auto names = h.state.list().value();
  for (const std::string& name : names) h.state.lose(name);
  record_lost_ = record_lost_ || !names.empty();
  if (!names.empty()) note("host {} loses its state folder", host);
}

void Simulation::destroy(std::size_t host) {
  if (hosts_[host].up) die(host, true);
  note("host {} is destroyed", host);
  hosts_[host].destroyed = true;
}

}  // namespace vhdxm::sim
