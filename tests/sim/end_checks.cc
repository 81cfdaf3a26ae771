// The end of a run: faults are over, both hosts can be reached, everything must come right.
#include <fmt/format.h>

#include <algorithm>

#include "tests/sim/notes.h"
#include "tests/sim/simulation.h"

namespace vhdxm::sim {

using namespace migration;

bool Simulation::settled() const {
  if (!linked_ || !network_.empty()) return false;
  return std::all_of(std::begin(hosts_), std::end(hosts_), [](const ModelHost& h) {
    return h.up && !h.wants_start && !h.source && !h.target && h.answers.empty();
  });
}

// One round in which everything that can happen happens. `complete`: a job that is under way is
// brought to its end, not cancelled.
bool Simulation::settle_once(bool complete) {
  for (std::size_t host = 0; host < 2; ++host) start(host);
  while (!linked_ && copy_all_once()) {
  }
  connect();
  reconcile_jobs();
  ModelHost& source = hosts_[from_];
  if (!complete && source.up && source.source && !source.source->committed()) {
    source.source->cancel(HandoverEnd::Kind::kCancelled);
    pump(from_);
  }
  for (int i = 0; i < 4; ++i) copy_all_once();
  for (int i = 0; i < 6; ++i) advance_some_write();
  if (!attempt()) hold();
  permit();
  while (!network_.empty()) deliver(0);
  if (twice_) network_.push_back(*std::exchange(twice_, std::nullopt));
  while (answer(0) || answer(1)) {
  }
  if (source.held() && source.source && source.source->may_copy() && !copy_.clean()) {
    // The last pages go over while it is held; but a write may be parked that they wait for.
    if (!copy_all_once()) deadline(from_);
  }
  for (std::size_t host = 0; host < 2; ++host) {
    ModelHost& h = hosts_[host];
    if (!h.up) continue;
    if (network_.empty() && h.source) h.source->on_timer();
    if (network_.empty() && h.target) h.target->on_timer();
    pump(host);
  }
  check_step();
  return settled();
}

// Who could not write something for certain needs a start to go on.
void Simulation::restart_the_stuck() {
  for (std::size_t host = 0; host < 2; ++host) {
    ModelHost& h = hosts_[host];
    const bool stuck =
        h.wants_start || (h.source && h.source->uncertain()) || (h.target && h.target->broken());
    if (h.up && stuck) die(host, false);
  }
}

void Simulation::settle_everything(bool complete) {
  for (ModelHost& h : hosts_) {
    if (scripted_) break;
    h.faults.dies_at = test::StepFaults::kNever;
    h.faults.fails_at = test::StepFaults::kNever;
  }
  for (int round = 0; round < 120; ++round) {
    ++outcome_.steps;
    restart_the_stuck();
    if (settle_once(complete)) return;
    // Every round has tried; what is left is left to a person.
    if (round == 60) resolve_by_hand();
    if (round == 100) complete = false;
  }
  fail("both hosts can be reached, and it does not come to an end");
}

// A source that lost its record, and a destination that knows nothing of the job: it may never have
// begun there, or be long over. A person who knows says so.
void Simulation::resolve_by_hand() {
  for (std::size_t host = 0; host < 2; ++host) {
    ModelHost& h = hosts_[host];
    const bool in_doubt = h.up && h.source && h.source->record().state == JobState::kActive &&
                          h.gate.state() == transfer::WriteGate::State::kArmed;
    if (!in_doubt || hosts_[1 - host].target || owns_all(1 - host)) continue;
    note("a person resolves it for host {}", host);
    if (h.source->force_owner().has_error()) fail("in doubt, and a person cannot end it");
    ++outcome_.forced;
    pump(host);
  }
}

void Simulation::check_content(std::size_t owner, const std::vector<std::uint64_t>& floor) {
  for (std::uint32_t disk = 0; disk < disk_count_; ++disk) {
    for (std::uint32_t page = 0; page < kPages; ++page) {
      const std::uint64_t value = hosts_[owner].disks[disk].now[page];
      if (value < floor[slot(disk, page)]) {
        fail(fmt::format("host {} owns, and lacks write {} to page {} of disk {}: it has {}", owner,
                         floor[slot(disk, page)] >> 16, page, disk, value >> 16));
      }
      if (value != 0 && ((value >> 8 & 0xff) != disk || (value & 0xff) != page)) {
        fail("what nobody wrote there");
      }
    }
  }
}

void Simulation::check_files(std::size_t owner) {
  const auto join = [](const std::vector<std::string>& names) {
    return fmt::format("{}", fmt::join(names, " "));
  };
  for (std::size_t host = 0; host < 2; ++host) {
    ModelHost& h = hosts_[host];
    // As `cleanup` does.
    if (const auto recovered = h.store.recover(); recovered.has_error()) fail("recover() fails");
    for (const JobId& job : h.store.jobs().value()) {
      if (const auto done = h.store.cleanup(job); done.has_error()) {
        fail(fmt::format("host {}: cleanup: {}", host, describe(done.error())));
      }
    }
    std::vector<std::string> expected;
    for (std::size_t disk = 0; host == owner && disk < disk_count_; ++disk) {
      expected.push_back(fmt::format("d{}.vhdx", disk));
      if (h.folders.at("disks").exists(expected.back() + ".owner").value()) {
        expected.push_back(expected.back() + ".owner");
      }
    }
    const auto names = h.folders.at("disks").list().value();
    if (names != expected) fail(fmt::format("host {} has the files {}", host, join(names)));
    const auto records = h.state.list().value();
    if (!records.empty()) fail(fmt::format("host {} has the records {}", host, join(records)));
  }
}

void Simulation::check_end() {
  for (ModelHost& h : hosts_) h.faults.dies_at = test::StepFaults::kNever;
  const bool owns[2] = {owns_all(0), owns_all(1)};
  if (owns[0] == owns[1]) fail(owns[0] ? "both hosts own" : "no host owns");
  const std::size_t owner = owns[0] ? 0 : 1;
  if (!hosts_[owner].serves()) fail("the owner does not serve");
  if (hosts_[1 - owner].serves()) fail("another than the owner serves");
  check_content(owner, floor_);
  check_files(owner);
}

// The other host is gone for good.
void Simulation::force_survivor(std::size_t host) {
  ModelHost& h = hosts_[host];
  h.faults = {.steps = h.faults.steps};
  if (h.up) die(host, false);
  if (!start(host)) fail("the survivor does not start");
  const std::uint64_t epoch = epoch_;
  if (owns_all(host)) {
    return check_content(host, floor_);
  }
  // What a person does.
  if (h.source && h.source->force_owner().has_value()) ++outcome_.forced;
  if (h.target && h.target->force_owner().has_value()) ++outcome_.forced;
  if (!h.source && !h.target) return;  // It never had all of it, or gave it away: nothing to take.
  for (int i = 0; i < 8; ++i) {
    pump(host);
    while (answer(host)) {
    }
  }
  if (!owns_all(host) || !h.serves()) fail("forced, and it does not own");
  // Without its record, only those of a job's disks that were in doubt had to be taken.
  std::size_t anew = 0;
  for (std::uint32_t disk = 0; disk < disk_count_; ++disk) {
    if (h.store.find(ids_[disk]).value()->record.epoch >= epoch + 1) ++anew;
  }
  if (anew == 0 || (anew < disk_count_ && !record_lost_)) fail("forced without a new epoch");
  // At the source: what was flushed there. What was not, the destination had.
  if (host == from_ && !taken_) check_content(host, flushed_);
}

}  // namespace vhdxm::sim
