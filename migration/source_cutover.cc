#include "migration/source_cutover.h"

#include <chrono>
#include <utility>

#include "base/check.h"
#include "migration/errc.h"
#include "migration/handover_codec.h"

namespace vhdxm::migration {

using transfer::SharedGate;
using transfer::WriteGate;

SourceCutover::SourceCutover(HostOwnership& host, SharedGate& gate, std::vector<JobDisk> disks,
                             std::string group)
    : host_(host), gate_(gate), group_(std::move(group)) {
  record_.source = host_.id;
  record_.disks = std::move(disks);
}

transfer::HandoverBody SourceCutover::introduce(const JobId& job_id) {
  record_.job = job_id;
  Introduction introduction{.source = host_.id, .group = group_, .disks = {}};
  for (const JobDisk& disk : record_.disks) {
    introduction.disks.push_back({.id = disk.terms.id, .epoch = disk.terms.epoch});
  }
  return encode(introduction);
}

transfer::CutoverSource::Step SourceCutover::start(std::span<const std::byte> answer) {
  const auto decoded = decode_introduction_answer(answer);
  if (decoded.has_error()) {
    return {.state = State::kVoid, .messages = {}, .problem = describe(decoded.error())};
  }
  record_.target = decoded->target;
  handover_.emplace(record_);
  handover_->start();
  Step step = drain();
  if (handover_->over()) return step;
  handover_->on_connected();
  return drain();
}

transfer::CutoverSource::Step SourceCutover::begin(const Held& held) {
  if (!handover_ || !handover_->may_attempt()) {
    return {.state = State::kVoid, .messages = {}, .problem = "the job cannot hand over now"};
  }
  std::vector<Hash128> ledgers;
  for (const transfer::PassLedger& ledger : held.ledgers) ledgers.push_back(ledger.ledger);
  attempting_ = true;
  handover_->attempt(AttemptId::random(), held.hold, ledgers);
  return drain();
}

transfer::CutoverSource::Step SourceCutover::on_message(std::span<const std::byte> body) {
  const auto message = decode_handover(body);
  if (message.has_error()) {
    // Nothing that it can say is known to be true.
    problem_ = describe(message.error());
    if (handover_) handover_->void_attempt();
    return drain();
  }
  if (const auto* refused = std::get_if<PrepareRefused>(&*message)) problem_ = refused->reason;
  if (handover_) handover_->on_message(*message);
  return drain();
}

void SourceCutover::get_ready() {
  const auto next = handover_ ? handover_->foreseen() : std::nullopt;
  if (!next) return;
  const std::lock_guard lock(host_.mutex);
  host_.arbiter.get_ready(*next);
}

transfer::CutoverSource::Step SourceCutover::give_up() {
  if (handover_) handover_->void_attempt();
  return drain();
}

transfer::CutoverSource::State SourceCutover::end(bool well) {
  if (!handover_) return State::kVoid;
  handover_->on_disconnected();
  (void)drain();
  if (!well && !handover_->over() && !handover_->committed()) {
    handover_->cancel(HandoverEnd::Kind::kFailed);
    (void)drain();
  }
  settle_now();
  return state();
}

std::string SourceCutover::owner_sentence() const {
  if (ended_) return ended_->sentence;
  return handover_ ? handover_->owner_sentence() : migration::owner_sentence(record_);
}

// What is true of the disks, in the engine's words.
transfer::CutoverSource::State SourceCutover::state() const {
  if (ended_ && ended_->kind == HandoverEnd::Kind::kDone) return State::kOwned;
  if (ended_ && ended_->kind == HandoverEnd::Kind::kUnconfirmed) return State::kBlocked;
  if (handover_->committed()) return State::kReleased;
  if (handover_->over()) return State::kVoid;
  if (voiding_) return State::kVoiding;
  return attempting_ ? State::kWaiting : State::kVoid;
}

transfer::CutoverSource::Step SourceCutover::drain() {
  if (!handover_)
    return {.state = State::kVoid, .messages = {}, .problem = std::exchange(problem_, {})};
  while (auto action = handover_->next_action()) {
    std::visit([this](auto& one) { act(one); }, *action);
  }
  if (handover_->may_attempt()) attempting_ = voiding_ = false;
  return {.state = state(),
          .messages = std::exchange(messages_, {}),
          .problem = std::exchange(problem_, {})};
}

void SourceCutover::act(HandoverSource::Begin& action) {
  auto begun = [&] {
    const std::lock_guard lock(host_.mutex);
    return host_.store.begin_source(action.record);
  }();
  if (begun.has_error()) problem_ = describe(begun.error());
  handover_->on_begun(begun);
}

void SourceCutover::act(HandoverSource::Send& action) {
  messages_.push_back(encode(action.message));
}

// The engine lets the gate go as soon as it hears that the attempt is dead.
void SourceCutover::act(HandoverSource::LetGo&) {
  voiding_ = true;
}

// No guest's memory has to be waited for here.
void SourceCutover::act(HandoverSource::Ready&) {
  handover_->release();
}

void SourceCutover::act(HandoverSource::Release& action) {
  const auto fenced = gate_.fence_after(action.hold, [&] {
    const std::lock_guard lock(host_.mutex);
    return host_.arbiter.commit(action.record);
  });
  if (fenced.has_error()) {
    problem_ = describe(fenced.error());
    return handover_->on_released(HandoverSource::ReleaseResult::kUncertain);
  }
  handover_->on_released(*fenced ? HandoverSource::ReleaseResult::kDone
                                 : HandoverSource::ReleaseResult::kNotHeld);
}

void SourceCutover::act(HandoverSource::Settle& action) {
  to_settle_ = action.record;
}

// If it fails the next start does it: the record says all.
void SourceCutover::settle_now() {
  const auto record = std::exchange(to_settle_, std::nullopt);
  if (!record) return;
  const std::lock_guard lock(host_.mutex);
  (void)host_.store.settle(*record).has_error();
}

void SourceCutover::act(HandoverSource::Confirm& action) {
  to_settle_.reset();  // what follows settles it as well
  auto confirmed = [&]() -> Result<void> {
    const std::lock_guard lock(host_.mutex);
    VHDXM_TRY_VOID(host_.store.put(action.record));
    return host_.store.settle(action.record);
  }();
  handover_->on_confirmed(confirmed);
}

void SourceCutover::act(HandoverSource::Withdraw& action) {
  auto withdrawn = [&] {
    const std::lock_guard lock(host_.mutex);
    return host_.store.withdraw(action.record);
  }();
  handover_->on_withdrawn(withdrawn);
}

// The other host owns: whatever the gate does, no write is let through from here on.
void SourceCutover::act(HandoverSource::Yield& action) {
  std::uint64_t hold = 0;
  if (gate_.state() == WriteGate::State::kHeld) gate_.let_go();
  if (gate_.state() == WriteGate::State::kTracking) {
    hold = gate_.hold();
    // Writes under way end on a disk that is another's copy now; nobody is told that they failed.
    (void)gate_.wait_idle(std::chrono::steady_clock::time_point::max());
    VHDXM_CHECK(gate_.fence(hold));
  }
  const std::lock_guard lock(host_.mutex);
  if (host_.store.put(action.record).has_value()) {
    (void)host_.store.settle(action.record).has_error();
  }
}

// Only a person forces, and not through a running job.
void SourceCutover::act(HandoverSource::Take&) {
  VHDXM_CHECK(false);
}

void SourceCutover::act(HandoverSource::Finish& action) {
  ended_ = action.end;
}

}  // namespace vhdxm::migration
