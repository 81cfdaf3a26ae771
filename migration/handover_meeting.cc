#include "migration/handover_meeting.h"

#include <deque>
#include <mutex>
#include <utility>

#include "migration/errc.h"
#include "migration/handover_codec.h"

namespace vhdxm::migration {
namespace {

using OnTake = std::function<Result<void>(const std::vector<DiskPlace>&)>;

/// Carries out what a HandoverTarget wants, from its record alone. The host's mutex is held.
class TargetWork {
 public:
  TargetWork(HostOwnership& host, const JobRecord& record, const OnTake& on_take)
      : host_(host), on_take_(on_take), target_(record) {
    target_.start();
    // It asks the source, which is the one that has called.
    (void)drain();
    reply_.reset();
  }

  Result<void> hear(const HandoverMessage& message) {
    target_.on_message(message);
    return drain();
  }
  Result<void> force() {
    VHDXM_TRY_VOID(target_.force_owner());
    return drain();
  }

  const std::optional<HandoverMessage>& reply() const { return reply_; }
  const std::optional<JobRecord>& taken() const { return taken_; }

 private:
  Result<void> drain() {
    while (auto action = target_.next_action()) {
      VHDXM_TRY_VOID(std::visit([this](auto& one) { return act(one); }, *action));
    }
    return {};
  }

  Result<void> act(HandoverTarget::Begin&) {
    target_.on_begun({});
    return {};
  }
  Result<void> act(HandoverTarget::Send& action) {
    reply_ = std::move(action.message);
    return {};
  }
  Result<void> act(HandoverTarget::Seal&) {
    // Nothing is prepared without a connection that brought the data.
    target_.on_sealed(Error{.code = Errc::kState, .where = "nothing arrives"});
    return {};
  }
  Result<void> act(HandoverTarget::Write& action) {
    auto written = host_.store.put(action.record);
    target_.on_written(written);
    return written;
  }
  Result<void> act(HandoverTarget::Take& action) {
    auto taken = [&]() -> Result<void> {
      std::vector<DiskPlace> places;
      for (const JobDisk& disk : action.record.disks) places.push_back(disk.place);
      if (on_take_) VHDXM_TRY_VOID(on_take_(places));
      VHDXM_TRY_VOID(host_.arbiter.acquire(action.record));
      return {};
    }();
    target_.on_taken(taken);
    return taken;
  }
  Result<void> act(HandoverTarget::TakeOver&) { return {}; }
  Result<void> act(HandoverTarget::Settle& action) {
    taken_ = action.record;
    return host_.store.settle(action.record);
  }
  Result<void> act(HandoverTarget::Finish&) { return {}; }

  HostOwnership& host_;
  const OnTake& on_take_;
  HandoverTarget target_;
  std::optional<HandoverMessage> reply_;
  std::optional<JobRecord> taken_;
};

Query query_of(const HandoverMessage& message) {
  Query query{.job = job_of(message), .disks = {}};
  if (const auto* asked = std::get_if<Query>(&message)) query.disks = asked->disks;
  if (const auto* released = std::get_if<Released>(&message)) {
    for (const DiskTerms& disk : released->terms.disks) query.disks.push_back(disk.id);
  }
  return query;
}

/// Carries out what a HandoverSource wants.
class SourceWork {
 public:
  SourceWork(HostOwnership& host, HandoverSource& source, const CallFunction& call)
      : host_(host), source_(source), call_(call) {}

  /// Until nothing more is to be done, or it is over.
  void run() {
    for (;;) {
      while (auto action = source_.next_action()) {
        std::visit([this](auto& one) { act(one); }, *action);
      }
      // Each word is a connection: what follows from an answer goes before the next one.
      if (end_.end || end_.failure || to_say_.empty()) break;
      const HandoverMessage message = std::move(to_say_.front());
      to_say_.pop_front();
      say(message);
    }
    end_.owner_sentence = end_.end ? end_.end->sentence : source_.owner_sentence();
  }
  MeetingEnd& end() { return end_; }

 private:
  void act(HandoverSource::Send& action) { to_say_.push_back(std::move(action.message)); }
  void say(const HandoverMessage& said) {
    // Two hosts that are sure of themselves have little to say.
    constexpr unsigned kCallsMax = 8;
    if (++calls_ > kCallsMax) return;
    auto answer = call_(encode(said));
    if (answer.has_error()) {
      end_.failure = std::move(answer).error();
      return;
    }
    const auto message = decode_handover(*answer);
    if (message.has_error()) {
      end_.failure = transfer::Failure{.failure_class = transfer::FailureClass::kFailed,
                                       .error = message.error(),
                                       .message = describe(message.error()),
                                       .advice = {}};
      return;
    }
    source_.on_message(*message);
  }
  void act(HandoverSource::Confirm& action) {
    source_.on_confirmed([&]() -> Result<void> {
      const std::lock_guard lock(host_.mutex);
      VHDXM_TRY_VOID(host_.store.put(action.record));
      return host_.store.settle(action.record);
    }());
  }
  void act(HandoverSource::Withdraw& action) {
    const std::lock_guard lock(host_.mutex);
    source_.on_withdrawn(host_.store.withdraw(action.record));
  }
  void act(HandoverSource::Settle& action) {
    const std::lock_guard lock(host_.mutex);
    settled_ = host_.store.settle(action.record);
  }
  void act(HandoverSource::Take& action) {
    source_.on_taken([&]() -> Result<void> {
      const std::lock_guard lock(host_.mutex);
      VHDXM_TRY_VOID(host_.arbiter.acquire(action.record));
      return {};
    }());
  }
  void act(HandoverSource::Finish& action) { end_.end = action.end; }
  // Of a job that has a gate.
  void act(HandoverSource::Begin&) {}
  void act(HandoverSource::LetGo&) {}
  void act(HandoverSource::Ready&) {}
  void act(HandoverSource::Release&) {}
  void act(HandoverSource::Yield&) {}

  HostOwnership& host_;
  HandoverSource& source_;
  const CallFunction& call_;
  MeetingEnd end_;
  std::deque<HandoverMessage> to_say_;
  unsigned calls_ = 0;
  Result<void> settled_;
};

HandoverSource source_of(const JobRecord& record, bool in_doubt) {
  return in_doubt ? HandoverSource::in_doubt(record) : HandoverSource(record);
}

}  // namespace

Result<MeetingAnswer> answer_meeting(HostOwnership& host, const HandoverMessage& message,
                                     const OnTake& on_take) {
  const std::lock_guard lock(host.mutex);
  const auto record = host.store.job(job_of(message));
  const bool arrives =
      record.has_value() && *record &&
      ((*record)->state == JobState::kPrepared || (*record)->state == JobState::kReceiving);
  if (arrives) {
    TargetWork work(host, **record, on_take);
    VHDXM_TRY_VOID(work.hear(message));
    if (work.reply()) return MeetingAnswer{.message = *work.reply(), .taken = work.taken()};
  }
  VHDXM_TRY(Answer answer, host.store.answer(query_of(message)));
  return MeetingAnswer{.message = std::move(answer)};
}

Result<JobRecord> take_by_force(HostOwnership& host, const JobRecord& record,
                                const OnTake& on_take) {
  const std::lock_guard lock(host.mutex);
  TargetWork work(host, record, on_take);
  VHDXM_TRY_VOID(work.force());
  if (work.taken()) return *work.taken();
  return Error{.code = Errc::kState, .where = "the disk was not taken"};
}

MeetingEnd meet_destination(HostOwnership& host, const JobRecord& record, bool in_doubt,
                            const CallFunction& call) {
  HandoverSource source = source_of(record, in_doubt);
  SourceWork work(host, source, call);
  source.start();
  work.run();
  return std::move(work.end());
}

Result<std::string> take_back_by_force(HostOwnership& host, const JobRecord& record,
                                       bool in_doubt) {
  HandoverSource source = source_of(record, in_doubt);
  source.start();
  while (source.next_action()) {
  }  // there is nobody to call
  VHDXM_TRY_VOID(source.force_owner());
  const CallFunction nobody;
  SourceWork work(host, source, nobody);
  work.run();
  if (!work.end().end || work.end().end->kind != HandoverEnd::Kind::kReclaimed) {
    return Error{.code = Errc::kState, .where = "the disk was not taken back"};
  }
  const std::lock_guard lock(host.mutex);
  VHDXM_TRY_VOID(host.store.drop(source.record()));
  return work.end().owner_sentence;
}

}  // namespace vhdxm::migration
