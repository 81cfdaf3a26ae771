#include "migration/target_cutover.h"

#include <utility>

#include "base/check.h"
#include "migration/errc.h"
#include "migration/handover_codec.h"
#include "migration/handover_meeting.h"

namespace vhdxm::migration {

TargetCutover::TargetCutover(HostOwnership& host, transfer::FolderPaths folders, ArrivalHooks hooks,
                             std::uint64_t number)
    : host_(host), folders_(std::move(folders)), hooks_(std::move(hooks)), number_(number) {}

Result<transfer::HandoverBody> TargetCutover::begin(const JobId& job_id,
                                                    const std::vector<transfer::OfferDisk>& disks,
                                                    std::span<const std::byte> introduction) {
  VHDXM_TRY(const Introduction theirs, decode_introduction(introduction));
  if (theirs.disks.size() != disks.size() || theirs.source == host_.id) {
    return Error{.code = Errc::kRecord,
                 .where = theirs.source == host_.id ? "a host that moves disks to itself"
                                                    : "introduction: not the disks of the offer"};
  }
  JobRecord record{.state = JobState::kReceiving,
                   .job = job_id,
                   .attempt = {},
                   .source = theirs.source,
                   .target = host_.id,
                   .disks = {},
                   .group = theirs.group};
  for (std::size_t i = 0; i < disks.size(); ++i) {
    const std::string* const folder = folders_.find(disks[i].folder);
    if (folder == nullptr) {
      return Error{.code = Errc::kRecord,
                   .where = "a storage folder that this host does not have",
                   .subject = disks[i].folder};
    }
    record.disks.push_back(
        {.terms = {.id = theirs.disks[i].id, .epoch = theirs.disks[i].epoch, .ledger = {}},
         .place = {.folder = *folder, .name = disks[i].name}});
  }
  if (hooks_.on_offer) {
    std::vector<DiskPlace> places;
    for (const JobDisk& disk : record.disks) places.push_back(disk.place);
    VHDXM_TRY_VOID(hooks_.on_offer(places));
  }
  {
    // Before it is the handover's: it learns here what moves back.
    const std::lock_guard lock(host_.mutex);
    VHDXM_TRY_VOID(host_.store.begin_target(record));
  }
  handover_.emplace(record);
  handover_->start();
  handover_->on_connected();
  (void)drain();
  if (hooks_.on_begun) hooks_.on_begun(arrival_of(handover_->record(), {}));
  return encode(IntroductionAnswer{.target = host_.id});
}

transfer::CutoverTarget::Step TargetCutover::on_message(
    std::span<const std::byte> body, const std::vector<transfer::PassLedger>& ledgers) {
  const auto message = decode_handover(body);
  if (message.has_error()) {
    return {.state = State::kFailed, .messages = {}, .problem = describe(message.error())};
  }
  ledgers_.clear();
  for (const transfer::PassLedger& ledger : ledgers) ledgers_.push_back(ledger.ledger);
  handover_->on_message(*message);
  return drain();
}

bool TargetCutover::get_ready() {
  const auto next = handover_ ? handover_->foreseen() : std::nullopt;
  if (!next) return false;
  const std::lock_guard lock(host_.mutex);
  host_.arbiter.get_ready(*next);
  return true;
}

// Closed first: whoever finds the disk under its name may open it.
transfer::CutoverTarget::Step TargetCutover::on_closed() {
  const auto record = std::exchange(to_take_, std::nullopt);
  VHDXM_CHECK(record.has_value());
  auto taken = [&]() -> Result<void> {
    const std::lock_guard lock(host_.mutex);
    VHDXM_TRY_VOID(host_.arbiter.acquire(*record));
    return {};
  }();
  if (taken.has_error()) problem_ = describe(taken.error());
  handover_->on_taken(taken);
  return drain();
}

void TargetCutover::on_free() {
  if (hooks_.on_owned) hooks_.on_owned(arrival_of(handover_->record(), {}));
}

void TargetCutover::end() {
  if (!handover_) return;
  handover_->on_disconnected();
  (void)drain();
  // If any of this fails the next start does it: the record says all, and goes last.
  const auto record = std::exchange(to_settle_, std::nullopt);
  bool settled = false;
  if (record) {
    const std::lock_guard lock(host_.mutex);
    settled = host_.store.settle(*record).has_value();
  }
  tell_over(handover_->record(), handover_->owner_sentence());
  if (settled && record->state == JobState::kOwned) {
    const std::lock_guard lock(host_.mutex);
    (void)host_.store.drop(*record).has_error();
  }
}

Arrival TargetCutover::arrival_of(const JobRecord& record, std::string owner_sentence) const {
  Arrival arrival{.number = number_,
                  .job = record.job,
                  .owns = record.state == JobState::kOwned,
                  .disks = {},
                  .owner_sentence = std::move(owner_sentence)};
  for (const JobDisk& disk : record.disks) arrival.disks.push_back(disk.place);
  arrival.group = record.group;
  return arrival;
}

void TargetCutover::tell_over(const JobRecord& record, std::string owner_sentence) const {
  if (hooks_.on_over) hooks_.on_over(arrival_of(record, std::move(owner_sentence)));
}

std::optional<Result<transfer::HandoverBody>> TargetCutover::meet(
    const JobId& job_id, std::span<const std::byte> message) {
  const auto decoded = decode_handover(message);
  if (decoded.has_error() || job_of(*decoded) != job_id) return std::nullopt;
  auto answer = answer_meeting(host_, *decoded, hooks_.on_take);
  if (answer.has_error()) return Result<transfer::HandoverBody>(std::move(answer).error());
  std::optional<JobRecord> record = answer->taken;
  if (!record) {
    const std::lock_guard lock(host_.mutex);
    if (auto found = host_.store.job(job_id); found.has_value()) record = std::move(*found);
  }
  if (record) tell_over(*record, owner_sentence(*record));
  if (answer->taken) {
    const std::lock_guard lock(host_.mutex);
    (void)host_.store.drop(*answer->taken).has_error();  // or the next start does it
  }
  return Result<transfer::HandoverBody>(encode(answer->message));
}

transfer::CutoverTarget::Step TargetCutover::drain() {
  while (!to_take_) {
    auto action = handover_->next_action();
    if (!action) break;
    std::visit([this](auto& one) { act(one); }, *action);
  }
  Step step{.state = State::kReceiving,
            .messages = std::exchange(messages_, {}),
            .problem = std::exchange(problem_, {})};
  if (to_take_) {
    step.state = State::kReleased;
  } else if (handover_->owns()) {
    step.state = State::kOwned;
  } else if (handover_->over() || !step.problem.empty()) {
    step.state = State::kFailed;
  } else if (handover_->record().state == JobState::kPrepared) {
    step.state = State::kPrepared;
  }
  return step;
}

// It was begun before the handover was made.
void TargetCutover::act(HandoverTarget::Begin&) {
  handover_->on_begun({});
}

void TargetCutover::act(HandoverTarget::Send& action) {
  messages_.push_back(encode(action.message));
}

// The pass before it was made durable, and the source sends nothing until the attempt is void.
void TargetCutover::act(HandoverTarget::Seal&) {
  handover_->on_sealed(ledgers_);
}

void TargetCutover::act(HandoverTarget::Write& action) {
  auto written = [&] {
    const std::lock_guard lock(host_.mutex);
    return host_.store.put(action.record);
  }();
  if (written.has_error()) problem_ = describe(written.error());
  handover_->on_written(written);
}

void TargetCutover::act(HandoverTarget::Take& action) {
  to_take_ = action.record;
}

// Who serves the disk here opens it after this.
void TargetCutover::act(HandoverTarget::TakeOver&) {}

void TargetCutover::act(HandoverTarget::Settle& action) {
  to_settle_ = action.record;
}

void TargetCutover::act(HandoverTarget::Finish&) {}

}  // namespace vhdxm::migration
