#include "tests/sim/simulation.h"

#include <fmt/format.h>
#include <array>

#include "tests/sim/notes.h"

namespace vhdxm::sim {

using namespace migration;

Simulation::Simulation(const Options& options)
    : options_(options),
      random_(options.seed),
      disk_count_(1 + pick(2)),
      hosts_{ModelHost(disk_count_), ModelHost(disk_count_)},
      copy_(options.planted, disk_count_),
      floor_(disk_count_ * kPages),
      flushed_(disk_count_ * kPages),
      prepared_floor_(disk_count_ * kPages) {
  for (std::size_t disk = 0; disk < disk_count_; ++disk) {
    OwnershipId id;
    id.bytes.fill(static_cast<std::uint8_t>(0x10 + disk));
    ids_.push_back(id);
    hosts_[0].folders.at("disks").place(fmt::format("d{}.vhdx", disk));
  }
  hosts_[1].folders.at("disks");
  for (std::size_t host = 0; host < 2; ++host) {
    hosts_[host].id.bytes.fill(static_cast<std::uint8_t>(0xa0 + host));
  }
  hosts_[0].gate = transfer::WriteGate();
  with_guest_memory_ = chance(50);
  // Where much goes wrong, little comes to its end.
  fault_permille_ = std::array<std::uint64_t, 4>{1, 3, 8, 30}[pick(4)];
}

void Simulation::fail(std::string what) {
  throw Failure{std::move(what)};
}

Outcome Simulation::finish(std::string failure) {
  outcome_.failure = std::move(failure);
  for (std::size_t host = 0; host < 2; ++host) {
    outcome_.folder_steps[host] = hosts_[host].faults.steps;
  }
  return std::move(outcome_);
}

Outcome Simulation::run_random() {
  try {
    const std::uint64_t steps = 300 + pick(900);
    for (; outcome_.steps < steps; ++outcome_.steps) {
      random_step();
      check_step();
    }
    const bool destroyed = chance(4);
    if (destroyed) {
      const std::size_t victim = pick(2);
      destroy(victim);
      faults_ = false;
      force_survivor(1 - victim);
      return finish("");
    }
    faults_ = false;
    settle_everything(chance(50));
    check_end();
  } catch (const Failure& failure) {
    return finish(failure.what);
  }
  return finish("");
}

Outcome Simulation::run_script(const Script& script) {
  script_ = script;
  scripted_ = true;
  if (script.dies) {
    hosts_[*script.dies].faults.dies_at = script.dies_at;
    hosts_[*script.dies].faults.moment = script.moment;
  }
  try {
    linked_ = true;
    for (int i = 0; i < 3; ++i) new_write();
    while (advance_some_write()) {
    }
    flush();
    start_job(0);
    pump(0);
    pump(1);
    settle_everything(true);
    check_end();
  } catch (const Failure& failure) {
    return finish(failure.what);
  }
  return finish("");
}

void Simulation::random_fault() {
  const std::size_t host = pick(2);
  ModelHost& h = hosts_[host];
  switch (pick(12)) {
    case 0:
    case 1:
      if (h.up) die(host, chance(50));
      return;
    case 2:
    case 3:
    case 4:
    case 5:
      // At one of the next steps of what is written.
      h.faults.dies_at = h.faults.steps + pick(12);
      h.faults.moment = static_cast<test::StepFaults::Moment>(pick(3));
      return;
    case 6:
      h.faults.fails_at = h.faults.steps + pick(12);
      return;
    case 7:
      if (!h.up && host == from_ && chance(30)) lose_record(host);
      return;
    case 8:
    case 9:
      return cut();
    default:
      copy_.break_stream(static_cast<std::uint32_t>(pick(CopyModel::kStreams)));
  }
}

void Simulation::random_step() {
  const std::size_t host = pick(2);
  ModelHost& h = hosts_[host];
  if (pick(1000) < fault_permille_) return random_fault();
  // A planted fault is looked for where it can do harm.
  if (options_.planted == Planted::kStalePrepared && pick(100) < 2) deadline(host);
  if (options_.planted == Planted::kDeadStreamWrites && pick(100) < 1) {
    copy_.break_stream(static_cast<std::uint32_t>(pick(CopyModel::kStreams)));
  }
  const std::uint64_t what = 3 + pick(97);
  if (what < 40) {
    copy_something();
  } else if (what < 50) {
    new_write();
  } else if (what < 62) {
    advance_some_write();
  } else if (what < 64) {
    flush();
  } else if (what < 74) {
    if (!network_.empty()) deliver(pick(network_.size()));
  } else if (what < 82) {
    answer(host);
  } else if (what < 86) {
    hold();
  } else if (what < 90) {
    attempt();
  } else if (what < 93) {
    permit();
  } else if (what < 94) {
    if (chance(40)) deadline(host);
  } else if (what < 95) {
    if (options_.planted == Planted::kWriteAfterLedger) slip_a_write_through();
    if (h.up && h.source) h.source->on_timer();
    if (h.up && h.target) h.target->on_timer();
    if (h.up) pump(host);
  } else if (what < 96) {
    if (linked_ && hosts_[from_].up && hosts_[from_].source) mirror_ = !mirror_;
    if (chance(20)) {
      lose_patience();
      mirror_ = false;
    }
    if (chance(3) && h.up && h.source) {
      h.source->cancel(HandoverEnd::Kind::kCancelled);
      pump(host);
    }
  } else if (what < 97) {
    reconcile_jobs();
  } else if (!start(host) && !start(1 - host) && !connect()) {
    start_some_job();
  }
}

void Simulation::start_some_job() {
  for (std::size_t host = 0; host < 2; ++host) {
    const ModelHost& h = hosts_[host];
    const ModelHost& other = hosts_[1 - host];
    if (!linked_ || jobs_ >= 4 || !h.up || !other.up || h.source || h.target || other.source ||
        other.target || h.gate.state() != transfer::WriteGate::State::kOpen) {
      continue;
    }
    start_job(host);
    pump(host);
    pump(1 - host);
    return;
  }
}

void Simulation::check_step() {
  const auto would = [](const ModelHost& h) { return h.serves() || h.held(); };
  if (would(hosts_[0]) && would(hosts_[1])) fail("two hosts would let a guest write");
}

}  // namespace vhdxm::sim
