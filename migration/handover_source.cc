#include "migration/handover_source.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/take_next.h"
#include "migration/errc.h"
#include "migration/resolve.h"

namespace vhdxm::migration {

HandoverSource::HandoverSource(JobRecord record) : record_(std::move(record)) {
  VHDXM_CHECK(is_of_source(record_.state) && record_.state != JobState::kReclaimed);
  VHDXM_CHECK(!record_.disks.empty());
}

HandoverSource HandoverSource::in_doubt(JobRecord record) {
  HandoverSource source(std::move(record));
  source.state_ = State::kInDoubt;
  return source;
}

std::optional<HandoverSource::Action> HandoverSource::next_action() {
  return take_next(actions_);
}

void HandoverSource::start() {
  if (state_ == State::kInDoubt) return say_again();
  VHDXM_CHECK(state_ == State::kNew);
  switch (record_.state) {
    case JobState::kActive:
      state_ = State::kBeginning;
      actions_.push_back(Begin{record_});
      return;
    case JobState::kReleased:
      state_ = State::kReleased;
      return say_again();
    default:
      return finish(HandoverEnd::Kind::kDone);
  }
}

void HandoverSource::on_begun(const Result<void>& result) {
  VHDXM_CHECK(state_ == State::kBeginning);
  if (result.has_error()) return withdraw(HandoverEnd::Kind::kFailed);
  state_ = State::kIdle;
  if (ending_) withdraw(end_);
}

// Attempts.

void HandoverSource::attempt(const AttemptId& id, std::uint64_t hold,
                             const std::vector<Hash128>& ledgers) {
  VHDXM_CHECK(may_attempt() && !id.is_zero() && ledgers.size() == record_.disks.size());
  attempt_ = id;
  ++number_;
  hold_ = hold;
  next_ = record_;
  next_.state = JobState::kReleased;
  next_.attempt = id;
  for (std::size_t i = 0; i < ledgers.size(); ++i) next_.disks[i].terms.ledger = ledgers[i];
  state_ = State::kPreparing;
  say_again();
}

std::optional<JobRecord> HandoverSource::foreseen() const {
  if (state_ != State::kPreparing) return std::nullopt;
  return next_;
}

// Terms and all: what was prepared for an earlier attempt is not what this one needs.
void HandoverSource::handle(const Prepared& message) {
  if (state_ != State::kPreparing || message.terms != next_.terms()) return;
  state_ = State::kReady;
  actions_.push_back(Ready{});
}

void HandoverSource::handle(const PrepareRefused& message) {
  if (message.attempt == attempt_) void_attempt();
}

void HandoverSource::void_attempt() {
  if (state_ != State::kPreparing && state_ != State::kReady) return;
  // It is dead from here on, before any write is let through: nothing releases in kVoiding.
  state_ = State::kVoiding;
  say_void();
  actions_.push_back(LetGo{});
}

void HandoverSource::handle(const Voided& message) {
  if (message.attempt != attempt_) return;
  if (state_ == State::kVoiding) state_ = State::kIdle;
  if (state_ == State::kInDoubt) withdraw(HandoverEnd::Kind::kFailed);
}

// The commit.

void HandoverSource::release() {
  if (state_ != State::kReady) return;
  state_ = State::kReleasing;
  actions_.push_back(Release{next_, hold_});
}

void HandoverSource::on_released(ReleaseResult result) {
  VHDXM_CHECK(state_ == State::kReleasing);
  switch (result) {
    case ReleaseResult::kDone:
      record_ = next_;
      state_ = State::kReleased;
      send(Released{record_.terms()});
      actions_.push_back(Settle{record_});
      return;
    case ReleaseResult::kNotHeld:
      state_ = State::kReady;
      return void_attempt();
    case ReleaseResult::kUncertain:
      state_ = State::kUncertain;
      actions_.push_back(Finish{{HandoverEnd::Kind::kUnconfirmed, uncertain_sentence(record_)}});
      return;
  }
}

bool HandoverSource::is_taken(const std::vector<OwnedDisk>& disks) const {
  return std::all_of(record_.disks.begin(), record_.disks.end(), [&](const JobDisk& mine) {
    return std::any_of(disks.begin(), disks.end(), [&](const OwnedDisk& disk) {
      return disk.id == mine.terms.id && disk.epoch > mine.terms.epoch;
    });
  });
}

void HandoverSource::handle(const Owned& message) {
  if (!is_taken(message.disks)) return;
  if (state_ == State::kReleased || state_ == State::kInDoubt) return confirm();
  yield();
}

void HandoverSource::confirm() {
  next_ = record_;
  next_.state = JobState::kConfirmed;
  state_ = State::kConfirming;
  actions_.push_back(Confirm{next_});
}

void HandoverSource::on_confirmed(const Result<void>& result) {
  VHDXM_CHECK(state_ == State::kConfirming);
  if (result.has_value()) {
    record_ = next_;
    return finish(HandoverEnd::Kind::kDone);
  }
  // The destination is asked again, and says so again.
  state_ = record_.state == JobState::kReleased ? State::kReleased : State::kInDoubt;
}

// The destination was forced to own although this side lives: the higher epoch wins.
void HandoverSource::yield() {
  switch (state_) {
    case State::kIdle:
    case State::kPreparing:
    case State::kReady:
    case State::kVoiding:
      break;
    default:
      return;
  }
  record_.state = JobState::kConfirmed;
  actions_.push_back(Yield{record_});
  finish(HandoverEnd::Kind::kUnconfirmed);
}

// The other side asks, or answers.

Answer HandoverSource::own_answer() const {
  Answer answer = answer_of(record_);
  answer.number = number_;
  if (record_.state == JobState::kActive && state_ == State::kInDoubt) {
    for (const JobDisk& disk : record_.disks) {
      const OwnershipRecord sidecar{.id = disk.terms.id,
                                    .epoch = disk.terms.epoch,
                                    .state = OwnershipState::kHandover,
                                    .job = record_.job,
                                    .source = record_.source,
                                    .target = record_.target};
      answer.disks.push_back(
          {.id = disk.terms.id, .found = RecordFound::kReadable, .sidecar = sidecar});
    }
    answer.found = RecordFound::kUnreadable;
    answer.terms = {};
  }
  return answer;
}

void HandoverSource::handle(const Query& message) {
  if (message.job != record_.job) return;
  // Whoever asks does not wait for a release: what it is told must stay true.
  void_attempt();
  switch (state_) {
    case State::kIdle:
    case State::kVoiding:
    case State::kReleased:
    case State::kInDoubt:
      return send(own_answer());
    default:
      return;  // Something is being written: the next question will be answered.
  }
}

void HandoverSource::handle(const Answer& message) {
  if (message.job != record_.job) return;
  switch (state_) {
    case State::kReleased: {
      const SourceMove move = resolve_source(own_answer(), message);
      if (move == SourceMove::kConfirm) confirm();
      if (move == SourceMove::kRelease) {
        for (std::size_t i = 0; i < record_.disks.size(); ++i) {
          record_.disks[i].terms.ledger = message.terms.disks[i].ledger;
        }
        send(Released{record_.terms()});
      }
      return;
    }
    case State::kInDoubt:
      return resolve_doubt(message);
    default:
      if (record_.state != JobState::kActive) return;
      if (resolve_source(own_answer(), message) == SourceMove::kYield) yield();
  }
}

void HandoverSource::resolve_doubt(const Answer& theirs) {
  switch (resolve_source(own_answer(), theirs)) {
    case SourceMove::kKeep:
      return withdraw(HandoverEnd::Kind::kFailed);
    case SourceMove::kVoid:
      attempt_ = theirs.terms.attempt;
      return say_void();
    case SourceMove::kConfirm:
    case SourceMove::kYield:
      return confirm();
    case SourceMove::kRelease:
    case SourceMove::kInDoubt:
      return;
  }
}

// Connections and time.

void HandoverSource::on_connected() {
  connected_ = true;
  number_ = 0;
  say_again();
}

void HandoverSource::on_disconnected() {
  void_attempt();
  connected_ = false;
}

void HandoverSource::on_timer() {
  say_again();
}

void HandoverSource::on_message(const HandoverMessage& message) {
  std::visit([this](const auto& m) { handle(m); }, message);
}

void HandoverSource::say_void() {
  send(Void{.job = record_.job, .number = number_, .attempt = attempt_});
}

void HandoverSource::ask() {
  send(query_about(record_));
}

void HandoverSource::say_again() {
  switch (state_) {
    case State::kPreparing:
      return send(Prepare{.number = number_, .terms = next_.terms()});
    case State::kVoiding:
      return say_void();
    case State::kReleased:
      // It may be made from sidecars, and then lacks what the destination has.
      send(Released{record_.terms()});
      return ask();
    case State::kInDoubt:
      return ask();
    default:
      return;
  }
}

// Ends.

void HandoverSource::cancel(HandoverEnd::Kind end) {
  void_attempt();
  switch (state_) {
    case State::kNew:
      return finish(end);
    case State::kBeginning:
      ending_ = true;
      end_ = end;
      return;
    case State::kIdle:
    case State::kVoiding:
      return withdraw(end);
    default:
      return;
  }
}

void HandoverSource::withdraw(HandoverEnd::Kind end) {
  end_ = end;
  state_ = State::kWithdrawing;
  actions_.push_back(Withdraw{record_});
}

// If it failed, the record says kActive still, and the next start withdraws it.
void HandoverSource::on_withdrawn(const Result<void>&) {
  VHDXM_CHECK(state_ == State::kWithdrawing);
  finish(end_);
}

Result<void> HandoverSource::force_owner() {
  if (state_ != State::kReleased && state_ != State::kInDoubt) {
    return Error{.code = Errc::kState, .where = "the source has nothing to take back"};
  }
  next_ = record_;
  next_.state = JobState::kReclaimed;
  state_ = State::kTaking;
  actions_.push_back(Take{next_});
  return {};
}

void HandoverSource::on_taken(const Result<void>& result) {
  VHDXM_CHECK(state_ == State::kTaking);
  if (result.has_error()) return finish(HandoverEnd::Kind::kUnconfirmed);
  record_ = next_;
  actions_.push_back(Settle{record_});
  finish(HandoverEnd::Kind::kReclaimed);
}

void HandoverSource::finish(HandoverEnd::Kind kind) {
  state_ = State::kOver;
  actions_.push_back(Finish{{kind, owner_sentence()}});
}

bool HandoverSource::committed() const {
  return record_.state != JobState::kActive || state_ == State::kReleasing ||
         state_ == State::kUncertain || state_ == State::kTaking;
}

std::string HandoverSource::owner_sentence() const {
  if (state_ == State::kUncertain) return uncertain_sentence(record_);
  if (state_ == State::kInDoubt) return doubt_sentence(record_);
  return migration::owner_sentence(record_);
}

}  // namespace vhdxm::migration
