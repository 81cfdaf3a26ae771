#include "migration/handover_target.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/take_next.h"
#include "migration/errc.h"
#include "migration/resolve.h"

namespace vhdxm::migration {

HandoverTarget::HandoverTarget(JobRecord record) : record_(std::move(record)) {
  VHDXM_CHECK(record_.state == JobState::kReceiving || record_.state == JobState::kPrepared);
  VHDXM_CHECK(!record_.disks.empty());
}

std::optional<HandoverTarget::Action> HandoverTarget::next_action() {
  return take_next(actions_);
}

void HandoverTarget::start() {
  VHDXM_CHECK(state_ == State::kNew);
  if (record_.state == JobState::kPrepared) {
    state_ = State::kPrepared;
    return on_timer();
  }
  state_ = State::kBeginning;
  actions_.push_back(Begin{record_});
}

void HandoverTarget::on_begun(const Result<void>& result) {
  if (state_ == State::kOver) return;
  VHDXM_CHECK(state_ == State::kBeginning);
  if (result.has_error()) return finish(HandoverEnd::Kind::kFailed);
  state_ = State::kReceiving;
}

// Preparing.

bool HandoverTarget::fits(const HandoverTerms& terms) const {
  return terms.job == record_.job && !terms.attempt.is_zero() && terms.source == record_.source &&
         terms.target == record_.target &&
         std::equal(terms.disks.begin(), terms.disks.end(), record_.disks.begin(),
                    record_.disks.end(), [](const DiskTerms& theirs, const JobDisk& mine) {
                      return theirs.id == mine.terms.id && theirs.epoch == mine.terms.epoch;
                    });
}

void HandoverTarget::handle(const Prepare& message) {
  if (message.terms.job != record_.job || message.number <= dead_) return;
  if (state_ == State::kPrepared && message.terms == record_.terms()) {
    prepared_ = message.number;
    return send(Prepared{record_.terms()});
  }
  // The source makes a new attempt only after this side has forgotten the one before.
  if (state_ != State::kReceiving) return;
  if (!fits(message.terms)) return refuse(message, "it is not what the job is about");
  prepare_ = message;
  state_ = State::kSealing;
  actions_.push_back(Seal{});
}

void HandoverTarget::refuse(const Prepare& message, std::string reason) {
  send(PrepareRefused{record_.job, message.terms.attempt, std::move(reason)});
}

void HandoverTarget::on_sealed(const Result<std::vector<Hash128>>& ledgers) {
  if (state_ == State::kOver) return;
  VHDXM_CHECK(state_ == State::kSealing);
  state_ = State::kReceiving;
  const std::optional<Prepare> prepare = std::exchange(prepare_, std::nullopt);
  if (const auto voided = std::exchange(voided_, std::nullopt)) {
    return send(Voided{record_.job, *voided});
  }
  if (!prepare) return;  // The connection went, and the attempt with it.
  if (ledgers.has_error()) return refuse(*prepare, describe(ledgers.error()));
  const bool agree = std::equal(
      prepare->terms.disks.begin(), prepare->terms.disks.end(), ledgers->begin(), ledgers->end(),
      [](const DiskTerms& theirs, const Hash128& mine) { return theirs.ledger == mine; });
  if (!agree) return refuse(*prepare, "what was applied here is not what was sent");
  next_ = record_;
  next_.state = JobState::kPrepared;
  next_.attempt = prepare->terms.attempt;
  for (std::size_t i = 0; i < next_.disks.size(); ++i) {
    next_.disks[i].terms = prepare->terms.disks[i];
  }
  prepare_ = prepare;
  state_ = State::kWritingPrepared;
  actions_.push_back(Write{next_});
}

void HandoverTarget::on_written(const Result<void>& result) {
  VHDXM_CHECK(state_ == State::kWritingPrepared || state_ == State::kVoiding);
  const std::optional<Prepare> prepare = std::exchange(prepare_, std::nullopt);
  if (result.has_error()) {
    if (prepare) refuse(*prepare, describe(result.error()));
    state_ = State::kBroken;
    actions_.push_back(Finish{{HandoverEnd::Kind::kFailed, owner_sentence()}});
    return;
  }
  record_ = next_;
  if (state_ == State::kVoiding) {
    state_ = State::kReceiving;
    if (const auto voided = std::exchange(voided_, std::nullopt)) {
      send(Voided{record_.job, *voided});
    }
    return;
  }
  state_ = State::kPrepared;
  prepared_ = prepare ? prepare->number : 0;
  if (voided_) return begin_void(*voided_);
  if (prepare) send(Prepared{record_.terms()});
}

// Voiding.

void HandoverTarget::begin_void(const AttemptId& attempt) {
  voided_ = attempt;
  next_ = record_;
  next_.state = JobState::kReceiving;
  next_.attempt = {};
  for (JobDisk& disk : next_.disks) disk.terms.ledger = {};
  state_ = State::kVoiding;
  actions_.push_back(Write{next_});
}

void HandoverTarget::handle(const Void& message) {
  if (message.job != record_.job) return;
  dead_ = std::max(dead_, message.number);
  switch (state_) {
    case State::kReceiving:
      return send(Voided{record_.job, message.attempt});
    case State::kSealing:
    case State::kWritingPrepared:
      if (!prepare_ || prepare_->number <= message.number) voided_ = message.attempt;
      return;
    case State::kVoiding:
      voided_ = message.attempt;
      return;
    case State::kPrepared:
      if (record_.attempt == message.attempt || prepared_ <= message.number) {
        begin_void(message.attempt);
      }
      return;
    case State::kOwned:
      return send_owned();
    default:
      return;
  }
}

// Taking.

void HandoverTarget::handle(const Released& message) {
  if (message.terms.job != record_.job) return;
  if (state_ == State::kOwned) return send_owned();
  // Every field, with what is durable here.
  if (state_ == State::kPrepared && message.terms == record_.terms()) take(false);
}

std::optional<JobRecord> HandoverTarget::foreseen() const {
  if (state_ != State::kPrepared) return std::nullopt;
  return owned(false);
}

JobRecord HandoverTarget::owned(bool forced) const {
  JobRecord record = record_;
  record.state = JobState::kOwned;
  record.forced = forced;
  return record;
}

void HandoverTarget::take(bool forced) {
  next_ = owned(forced);
  state_ = State::kTaking;
  actions_.push_back(Take{next_});
}

void HandoverTarget::on_taken(const Result<void>& result) {
  VHDXM_CHECK(state_ == State::kTaking);
  if (result.has_error()) {
    state_ = State::kBroken;
    actions_.push_back(Finish{{HandoverEnd::Kind::kUnconfirmed, owner_sentence()}});
    return;
  }
  record_ = next_;
  state_ = State::kOwned;
  actions_.push_back(TakeOver{});
  send_owned();
  actions_.push_back(Settle{record_});
  actions_.push_back(Finish{{HandoverEnd::Kind::kDone, owner_sentence()}});
}

void HandoverTarget::send_owned() {
  Owned owned{.job = record_.job};
  for (const JobDisk& disk : record_.disks) {
    owned.disks.push_back({.id = disk.terms.id, .epoch = record_.new_epoch(disk)});
  }
  send(std::move(owned));
}

Result<void> HandoverTarget::force_owner() {
  if (state_ != State::kPrepared) {
    return Error{.code = Errc::kState, .where = "only what was prepared can be owned"};
  }
  take(true);
  return {};
}

// The other side asks, or answers.

void HandoverTarget::handle(const Query& message) {
  if (message.job != record_.job) return;
  switch (state_) {
    case State::kReceiving:
    case State::kSealing:
    case State::kPrepared:
    case State::kOwned:
      return send(answer_of(record_));
    default:
      return;  // Something is being written: the next question will be answered.
  }
}

void HandoverTarget::handle(const Answer& message) {
  if (message.job != record_.job || state_ != State::kPrepared) return;
  switch (resolve_target(answer_of(record_), message)) {
    case TargetMove::kTake:
      return take(false);
    case TargetMove::kVoid:
      // Without its record the source's job is over, of whatever attempt: it is written before the
      // first, and goes last.
      if (message.found == RecordFound::kNone || prepared_ <= message.number) {
        begin_void(record_.attempt);
      }
      return;
    case TargetMove::kKeep:
    case TargetMove::kInDoubt:
      return;
  }
}

// Connections, time, ends.

void HandoverTarget::on_connected() {
  connected_ = true;
  dead_ = 0;
  prepared_ = 0;
  if (state_ == State::kOwned) return send_owned();
  on_timer();
}

void HandoverTarget::on_disconnected() {
  connected_ = false;
  // The source makes no use of what it does not hear of.
  prepare_.reset();
}

void HandoverTarget::on_timer() {
  if (state_ != State::kPrepared) return;
  send(query_about(record_));
}

void HandoverTarget::on_message(const HandoverMessage& message) {
  std::visit([this](const auto& m) { handle(m); }, message);
}

Result<void> HandoverTarget::cancel(HandoverEnd::Kind end) {
  switch (state_) {
    case State::kNew:
    case State::kBeginning:
    case State::kReceiving:
    case State::kSealing:
      finish(end);
      return {};
    case State::kOver:
      return {};
    default:
      return Error{.code = Errc::kUnconfirmed, .where = "only the source can end the job now"};
  }
}

void HandoverTarget::finish(HandoverEnd::Kind kind) {
  state_ = State::kOver;
  actions_.push_back(Finish{{kind, owner_sentence()}});
}

std::string HandoverTarget::owner_sentence() const {
  return migration::owner_sentence(record_);
}

}  // namespace vhdxm::migration
