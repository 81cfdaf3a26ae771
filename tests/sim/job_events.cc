// What drives the ends of a hand-over: their actions, and what the driver of a live move does.
#include <fmt/format.h>

#include "migration/handover_messages.h"
#include "tests/sim/notes.h"
#include "tests/sim/simulation.h"

namespace vhdxm::sim {

using namespace migration;
using State = transfer::WriteGate::State;

JobRecord Simulation::make_record(std::size_t from) {
  JobRecord record{.source = hosts_[from].id, .target = hosts_[1 - from].id};
  for (std::uint8_t& byte : record.job) byte = static_cast<std::uint8_t>(pick(256));
  record.job[0] = static_cast<std::uint8_t>(jobs_ + 1);
  return record;
}

void Simulation::start_job(std::size_t from) {
  ModelHost& source = hosts_[from];
  ModelHost& target = hosts_[1 - from];
  JobRecord record = make_record(from);
  bool adopted = true;
  in_process(from, [&] {
    for (std::uint32_t disk = 0; disk < disk_count_; ++disk) {
      const DiskPlace place{"disks", fmt::format("d{}.vhdx", disk)};
      const auto sidecar = source.store.adopt(place, ids_[disk]);
      adopted = adopted && sidecar.has_value();
      if (!adopted) return;
      record.disks.push_back(
          {.terms = {.id = sidecar->id, .epoch = sidecar->epoch}, .place = place});
    }
  });
  if (!source.up || !adopted) return;
  from_ = from;
  ++jobs_;
  released_ = stands_ = released_lost_power_ = false;
  taken_ = false;
  mirror_ = !scripted_ && chance(50);
  note("job {} begins, from host {}", jobs_, from);
  record.state = JobState::kActive;
  source.source = std::make_unique<HandoverSource>(record);
  record.state = JobState::kReceiving;
  target.target = std::make_unique<HandoverTarget>(record);
  target.gate = transfer::WriteGate(true);
  source.gate.start_tracking();
  copy_.cut();
  copy_.target_died();
  take_mirror_answers();
  copy_.restart();
  source.source->start();
  source.source->on_connected();
  target.target->start();
  target.target->on_connected();
}

// Actions that are waiting, one after the other, until one has to be answered.
void Simulation::pump(std::size_t host) {
  ModelHost& h = hosts_[host];
  in_process(host, [&] {
    while (h.source) {
      const auto action = h.source->next_action();
      if (!action) break;
      act(host, *action);
    }
    while (h.target) {
      const auto action = h.target->next_action();
      if (!action) break;
      act(host, *action);
    }
  });
  if (h.up) drop_finished(host);
}

void Simulation::drop_finished(std::size_t host) {
  ModelHost& h = hosts_[host];
  if (h.source && h.source->over()) {
    end_tracking(host);
    h.source.reset();
  }
  // It may be waiting to be told of something that does not matter any more.
  if (h.target && h.target->over() && h.answers.empty()) h.target.reset();
}

void Simulation::end_tracking(std::size_t host) {
  transfer::WriteGate& gate = hosts_[host].gate;
  if (gate.state() == State::kHeld && !hosts_[host].source->committed()) gate.let_go();
  if (gate.state() == State::kTracking) gate.stop_tracking();
  mirror_ = false;
}

void Simulation::answer_later(std::size_t host, std::function<void()> answer) {
  hosts_[host].answers.push_back(std::move(answer));
}

bool Simulation::answer(std::size_t host) {
  ModelHost& h = hosts_[host];
  if (!h.up || h.answers.empty()) return false;
  const auto next = std::move(h.answers.front());
  h.answers.pop_front();
  next();
  pump(host);
  return true;
}

// Now and again: what is foreseen saves time, and must never matter otherwise.
void Simulation::get_ready(ModelHost& host, const std::optional<JobRecord>& next) {
  if (next && chance(60)) host.arbiter.get_ready(*next);
}

void Simulation::act(std::size_t host, const HandoverSource::Action& action) {
  ModelHost& h = hosts_[host];
  if (const auto* a = std::get_if<HandoverSource::Send>(&action)) {
    send(host, a->message);
    return get_ready(h, h.source->foreseen());
  }
  if (const auto* a = std::get_if<HandoverSource::Release>(&action))
    return commit_release(host, *a);
  if (std::holds_alternative<HandoverSource::Ready>(action)) {
    h.ready = true;
  } else if (std::holds_alternative<HandoverSource::LetGo>(action)) {
    note("host {} lets its gate go", host);
    ++outcome_.voided;
    h.ready = false;
    if (h.gate.state() == State::kHeld) h.gate.let_go();
  } else if (const auto* begin = std::get_if<HandoverSource::Begin>(&action)) {
    const auto done = h.store.begin_source(begin->record);
    if (done.has_error()) note("host {} cannot begin: {}", host, describe(done.error()));
    answer_later(host, [&h, done] { h.source->on_begun(done); });
  } else if (const auto* settle = std::get_if<HandoverSource::Settle>(&action)) {
    auto done = h.store.settle(settle->record);
    if (done.has_value() && settle->record.state == JobState::kReclaimed) {
      done = h.store.drop(settle->record);
    }
    if (done.has_error()) h.wants_start = true;
  } else if (const auto* confirm = std::get_if<HandoverSource::Confirm>(&action)) {
    auto done = h.store.put(confirm->record);
    if (done.has_value()) done = h.store.settle(confirm->record);
    answer_later(host, [&h, done] { h.source->on_confirmed(done); });
  } else if (const auto* withdraw = std::get_if<HandoverSource::Withdraw>(&action)) {
    const bool was_doubt = h.gate.state() == State::kArmed;
    const auto done = h.store.withdraw(withdraw->record);
    if (done.has_error()) h.wants_start = true;
    answer_later(host, [this, &h, done, was_doubt] {
      h.source->on_withdrawn(done);
      if (!was_doubt || !done.has_value()) return;
      h.gate = transfer::WriteGate();
      owns_after_all();
    });
  } else if (const auto* yield = std::get_if<HandoverSource::Yield>(&action)) {
    h.gate = transfer::WriteGate(true);
    std::erase_if(writes_, [&](const Write& w) { return w.host == host; });
    if (h.store.put(yield->record).has_value()) (void)h.store.settle(yield->record).has_value();
  } else if (const auto* take = std::get_if<HandoverSource::Take>(&action)) {
    const auto done = h.arbiter.acquire(take->record);
    if (done.has_value()) h.gate = transfer::WriteGate();
    const Result<void> result = done.has_error() ? Result<void>(done.error()) : Result<void>();
    answer_later(host, [&h, result] { h.source->on_taken(result); });
  } else if (const auto* end = std::get_if<HandoverSource::Finish>(&action)) {
    note("host {} ends as the source: {} (exit {})", host, end->end.sentence,
         exit_code_of(end->end.kind));
  }
}

// Under the gate's lock.
void Simulation::commit_release(std::size_t host, const HandoverSource::Release& action) {
  ModelHost& h = hosts_[host];
  ModelHost& other = hosts_[1 - host];
  using Released = HandoverSource::ReleaseResult;
  h.ready = false;
  const bool slipped = options_.planted == Planted::kWriteAfterLedger;
  if (!h.gate.still_held(slipped ? h.hold : action.hold)) {
    return h.source->on_released(Released::kNotHeld);
  }
  note("host {} commits its release", host);
  if (!other.destroyed) {
    const auto bytes = other.state.durable(OwnershipStore::record_name(action.record.job));
    const auto there = bytes ? decode_job(*bytes) : Result<JobRecord>(Error{});
    if (there.has_error() || there->state != JobState::kPrepared ||
        there->terms() != action.record.terms()) {
      fail("a release without a destination that is durably prepared for it");
    }
    for (std::uint32_t disk = 0; disk < disk_count_; ++disk) {
      for (std::uint32_t page = 0; page < kPages; ++page) {
        if (other.disks[disk].durable[page] < floor_[slot(disk, page)]) {
          fail(fmt::format("a release, and the destination lacks a write to page {} of disk {}",
                           page, disk));
        }
      }
    }
  }
  released_ = true;  // If the host dies now, it may stand.
  const auto done = h.arbiter.commit(action.record);
  if (done.has_error()) {
    note("that failed");
    return h.source->on_released(Released::kUncertain);
  }
  ++outcome_.releases;
  stands_ = true;
  if (!h.gate.fence(slipped ? h.hold : action.hold)) fail("the gate could not be fenced");
  h.source->on_released(Released::kDone);
}

void Simulation::act(std::size_t host, const HandoverTarget::Action& action) {
  ModelHost& h = hosts_[host];
  if (const auto* a = std::get_if<HandoverTarget::Send>(&action)) {
    send(host, a->message);
    return get_ready(h, h.target->foreseen());
  }
  if (std::holds_alternative<HandoverTarget::Seal>(action)) return seal(host);
  if (std::holds_alternative<HandoverTarget::TakeOver>(action)) return take_over(host);
  if (const auto* begin = std::get_if<HandoverTarget::Begin>(&action)) {
    JobRecord record = begin->record;
    const auto done = h.store.begin_target(record);
    if (done.has_error()) note("host {} refuses the job: {}", host, describe(done.error()));
    for (const JobDisk& disk : record.disks) {
      if (disk.moves_back) ++outcome_.moves_back;
      const std::string partial = OwnershipStore::partial_name(disk.place);
      auto& folder = h.folders.at("disks");
      if (done.has_value() && !folder.exists(partial).value()) folder.place(partial);
    }
    answer_later(host, [&h, done] { h.target->on_begun(done); });
  } else if (const auto* write = std::get_if<HandoverTarget::Write>(&action)) {
    note("host {} writes {}", host, to_string(write->record.state));
    const auto done = h.store.put(write->record);
    if (write->record.state == JobState::kPrepared) prepared_floor_ = attempt_floor_;
    answer_later(host, [&h, done] { h.target->on_written(done); });
  } else if (const auto* take = std::get_if<HandoverTarget::Take>(&action)) {
    note("host {} takes the disks{}", host, take->record.forced ? " by force" : "");
    const auto done = h.arbiter.acquire(take->record);
    const Result<void> result = done.has_error() ? Result<void>(done.error()) : Result<void>();
    if (done.has_value() && done->value <= epoch_) fail("an epoch that does not grow");
    if (done.has_value()) epoch_ = done->value;
    answer_later(host, [&h, result] { h.target->on_taken(result); });
  } else if (const auto* settle = std::get_if<HandoverTarget::Settle>(&action)) {
    auto done = h.store.settle(settle->record);
    if (done.has_value()) done = h.store.drop(settle->record);
    if (done.has_error()) h.wants_start = true;
  } else if (const auto* end = std::get_if<HandoverTarget::Finish>(&action)) {
    note("host {} ends as the destination: {} (exit {})", host, end->end.sentence,
         exit_code_of(end->end.kind));
  }
}

void Simulation::seal(std::size_t host) {
  ModelHost& h = hosts_[host];
  Result<std::vector<Hash128>> ledgers = std::vector<Hash128>();
  if (!copy_.quiet()) {
    ledgers = Error{.code = BaseErrc::kInjected, .where = "data is still under way"};
  } else {
    for (std::uint32_t disk = 0; disk < disk_count_; ++disk) {
      h.disks[disk].flush();
      ledgers->push_back(copy_.applied(disk));
    }
  }
  answer_later(host, [&h, ledgers] { h.target->on_sealed(ledgers); });
}

void Simulation::take_over(std::size_t host) {
  note("host {} takes over", host);
  ++outcome_.takeovers;
  hosts_[host].gate.take_over();
  check_content(host, hosts_[1 - host].destroyed && !released_ ? prepared_floor_ : floor_);
  if (hosts_[1 - host].destroyed && !released_) floor_ = prepared_floor_;
  flushed_ = floor_;
  taken_ = true;
  home_ = host;
  stands_ = false;
}

// What a copier and its driver do.

bool Simulation::hold() {
  ModelHost& h = hosts_[from_];
  if (!h.up || !h.source || !h.source->may_attempt() || h.gate.state() != State::kTracking) {
    return false;
  }
  // Or next to nothing would be mirrored.
  if (mirror_ && faults_ && !chance(10)) return false;
  lose_patience();
  h.hold = h.gate.hold();
  note("host {} holds its gate", from_);
  return true;
}

bool Simulation::attempt() {
  ModelHost& h = hosts_[from_];
  if (!h.held() || !h.source || !h.source->may_attempt() || !h.gate.still_held(h.hold) ||
      !copy_.clean()) {
    return false;
  }
  std::vector<Hash128> ledgers;
  for (std::uint32_t disk = 0; disk < disk_count_; ++disk) ledgers.push_back(copy_.sent(disk));
  AttemptId id;
  for (std::uint8_t& byte : id.bytes) byte = static_cast<std::uint8_t>(pick(256));
  note("host {} begins an attempt", from_);
  attempt_floor_ = floor_;
  h.source->attempt(id, h.hold, ledgers);
  pump(from_);
  // An answer to an earlier attempt comes once more: the network may do that.
  if (linked_ && stale_) {
    network_.push_back(*stale_);
    deliver(network_.size() - 1);
    if (chance(50)) permit();
  }
  return true;
}

bool Simulation::permit() {
  ModelHost& h = hosts_[from_];
  if (!h.up || !h.source || !h.ready) return false;
  h.source->release();
  pump(from_);
  return true;
}

// Time is up, or a write must be let through.
bool Simulation::deadline(std::size_t host) {
  ModelHost& h = hosts_[host];
  if (!h.held() || !h.source || h.source->committed()) return false;
  note("host {}: the deadline passes", host);
  h.source->void_attempt();
  pump(host);
  if (h.held() && h.source && !h.source->committed()) h.gate.let_go();
  return true;
}

// The planted fault: nobody is told.
void Simulation::slip_a_write_through() {
  ModelHost& h = hosts_[from_];
  if (!h.held() || !h.source || h.source->may_attempt() || h.source->committed()) return;
  for (Write& write : writes_) {
    if (write.host != from_ || write.stage != Write::Stage::kAtGate) continue;
    h.gate.let_go();
    advance_write(write);
    h.hold = h.gate.hold();
    return;
  }
}

// The network.

void Simulation::send(std::size_t from, const HandoverMessage& message) {
  if (!linked_) return;
  const std::uint64_t number = outcome_.messages++;
  if (const auto* prepare = std::get_if<Prepare>(&message)) prepare_ = *prepare;
  note("host {} > {}", from, name_of(message));
  if (scripted_) {
    if (script_.lost_message == number) return;
    if (script_.doubled_message == number) twice_ = Message{1 - from, message};
  } else if (faults_ && chance(8)) {
    note("it is lost");
    return;
  }
  network_.push_back({1 - from, message});
  if (!scripted_ && faults_ && chance(8)) network_.push_back({1 - from, message});
}

void Simulation::deliver(std::size_t index) {
  const Message got = network_[index];
  network_.erase(network_.begin() + static_cast<std::ptrdiff_t>(index));
  ModelHost& h = hosts_[got.to];
  if (!h.up) return;
  note("host {} < {}", got.to, name_of(got.message));
  HandoverMessage message = got.message;
  if (options_.planted == Planted::kStalePrepared && h.source && !h.source->committed()) {
    if (auto* prepared = std::get_if<Prepared>(&message)) {
      stale_ = got;
      prepared->terms = prepare_.terms;
    }
  }
  const JobId job = job_of(message);
  const bool known =
      (h.source && h.source->record().job == job) || (h.target && h.target->record().job == job);
  if (h.source) h.source->on_message(message);
  if (h.target) h.target->on_message(message);
  pump(got.to);
  if (!known && h.up) answer_from_folders(got.to, message);
}

// The job is over here, or was never known.
void Simulation::answer_from_folders(std::size_t host, const HandoverMessage& message) {
  Query query{.job = job_of(message)};
  if (const auto* asked = std::get_if<Query>(&message)) {
    query = *asked;
  } else if (const auto* released = std::get_if<Released>(&message)) {
    for (const DiskTerms& disk : released->terms.disks) query.disks.push_back(disk.id);
  } else {
    return;
  }
  in_process(host, [&] {
    const auto says = hosts_[host].store.answer(query);
    if (says.has_value()) send(host, *says);
  });
}

}  // namespace vhdxm::sim
