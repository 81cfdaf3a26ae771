#include "migration/handover_source.h"

#include <gtest/gtest.h>

#include "migration/errc.h"
#include "tests/migration/handover_steps.h"
#include "tests/migration/sample_job.h"
#include "tests/support/expect_error.h"

namespace vhdxm::migration {
namespace {

using Source = HandoverSource;
using Released = HandoverSource::ReleaseResult;

const std::vector<Hash128> kLedgers = {{1, 2}, {3, 4}};

class HandoverSourceTest : public testing::Test {
 protected:
  template <class Kind>
  Kind next() {
    return next_of<Kind>(source_);
  }
  template <class Kind>
  Kind sent() {
    return sent_by<Kind>(source_);
  }
  bool idle() { return is_idle(source_); }

  void begin() {
    source_.start();
    EXPECT_EQ(next<Source::Begin>().record, sample_job(JobState::kActive));
    source_.on_begun(kWell);
    source_.on_connected();
    EXPECT_TRUE(idle());
  }
  HandoverTerms attempt(std::uint8_t id = 0x55) {
    EXPECT_TRUE(source_.may_attempt());
    source_.attempt(sample_id<AttemptId>(id), 7, kLedgers);
    return sent<Prepare>().terms;
  }
  void release() {
    source_.on_message(Prepared{attempt()});
    next<Source::Ready>();
    source_.release();
    const auto action = next<Source::Release>();
    EXPECT_EQ(action.hold, 7U);
    EXPECT_EQ(action.record.state, JobState::kReleased);
    source_.on_released(Released::kDone);
    sent<migration::Released>();
    next<Source::Settle>();
    EXPECT_TRUE(idle());
  }
  Owned owned(std::uint64_t epoch) const {
    Owned message{.job = sample_job_id()};
    for (const JobDisk& disk : source_.record().disks) {
      message.disks.push_back({.id = disk.terms.id, .epoch = epoch});
    }
    return message;
  }

  Source source_{sample_job(JobState::kActive)};
};

TEST_F(HandoverSourceTest, ReleasesWhatWasPreparedAndKeepsItUntilItIsConfirmed) {
  begin();
  const HandoverTerms terms = attempt();
  EXPECT_EQ(terms.disks[1].ledger, kLedgers[1]);
  EXPECT_FALSE(source_.may_copy());
  source_.on_message(Prepared{terms});
  next<Source::Ready>();
  EXPECT_FALSE(source_.committed());
  source_.release();
  EXPECT_EQ(next<Source::Release>().record.terms(), terms);
  EXPECT_TRUE(source_.committed());
  EXPECT_TRUE(idle()) << "nothing is sent before it is durable";
  source_.on_released(Released::kDone);
  EXPECT_EQ(sent<migration::Released>().terms, terms);
  EXPECT_EQ(next<Source::Settle>().record.state, JobState::kReleased);
  source_.on_message(owned(2));
  EXPECT_EQ(next<Source::Confirm>().record.state, JobState::kConfirmed);
  source_.on_confirmed(kWell);
  EXPECT_EQ(next<Source::Finish>().end.kind, HandoverEnd::Kind::kDone);
  EXPECT_TRUE(source_.over());
}

TEST_F(HandoverSourceTest, ForeseesWhatItWillRelease) {
  begin();
  EXPECT_FALSE(source_.foreseen()) << "there is no attempt";
  const HandoverTerms terms = attempt();
  const auto foreseen = source_.foreseen();
  ASSERT_TRUE(foreseen);
  source_.on_message(Prepared{terms});
  EXPECT_FALSE(source_.foreseen()) << "it is due";
  next<Source::Ready>();
  source_.release();
  EXPECT_EQ(next<Source::Release>().record, *foreseen);
}

TEST_F(HandoverSourceTest, APreparedOfAnotherAttemptIsNotTaken) {
  begin();
  const HandoverTerms old = attempt(0x55);
  source_.void_attempt();
  EXPECT_EQ(sent<Void>().attempt, old.attempt);
  next<Source::LetGo>();
  source_.on_message(Prepared{old});
  EXPECT_TRUE(idle()) << "it is void";
  source_.on_message(Voided{sample_job_id(), old.attempt});
  const HandoverTerms now = attempt(0x66);
  source_.on_message(Prepared{old});
  source_.release();
  EXPECT_TRUE(idle());
  for (int field = 0; field < 6; ++field) {
    HandoverTerms other = now;
    if (field == 0) other.attempt = old.attempt;
    if (field == 1) other.disks[1].ledger.low ^= 1;
    if (field == 2) other.disks[0].epoch += 1;
    if (field == 3) other.target = kSourceHost;
    if (field == 4) other.disks.pop_back();
    if (field == 5) other.job = sample_job_id(0x78);
    source_.on_message(Prepared{other});
    EXPECT_TRUE(idle()) << field;
  }
  source_.on_message(Prepared{now});
  next<Source::Ready>();
}

TEST_F(HandoverSourceTest, NothingIsCopiedUntilTheOtherSideHasForgotten) {
  begin();
  const HandoverTerms terms = attempt();
  source_.void_attempt();
  sent<Void>();
  next<Source::LetGo>();
  EXPECT_FALSE(source_.may_copy());
  source_.on_timer();
  EXPECT_EQ(sent<Void>().attempt, terms.attempt) << "it may have been lost";
  source_.on_disconnected();
  source_.on_connected();
  EXPECT_EQ(sent<Void>().attempt, terms.attempt);
  source_.on_message(Voided{sample_job_id(), sample_id<AttemptId>(0x01)});
  EXPECT_FALSE(source_.may_copy()) << "another one";
  source_.on_message(Voided{sample_job_id(), terms.attempt});
  EXPECT_TRUE(source_.may_copy());
}

TEST_F(HandoverSourceTest, AWriteThatMustPassVoidsTheAttemptFirst) {
  begin();
  source_.on_message(Prepared{attempt()});
  next<Source::Ready>();
  source_.void_attempt();
  sent<Void>();
  next<Source::LetGo>();
  source_.release();
  EXPECT_TRUE(idle()) << "it is too late for that";
}

TEST_F(HandoverSourceTest, AWriteThatSlippedThroughVoidsTheAttempt) {
  begin();
  source_.on_message(Prepared{attempt()});
  next<Source::Ready>();
  source_.release();
  next<Source::Release>();
  source_.void_attempt();
  EXPECT_TRUE(idle()) << "not while it is being committed";
  source_.on_released(Released::kNotHeld);
  sent<Void>();
  next<Source::LetGo>();
  EXPECT_FALSE(source_.committed());
}

TEST_F(HandoverSourceTest, AReleaseThatIsUncertainSaysNothing) {
  begin();
  source_.on_message(Prepared{attempt()});
  next<Source::Ready>();
  source_.release();
  next<Source::Release>();
  source_.on_released(Released::kUncertain);
  const auto end = next<Source::Finish>().end;
  EXPECT_EQ(exit_code_of(end.kind), 8);
  EXPECT_NE(end.sentence.find("nobody may write"), std::string::npos) << end.sentence;
  EXPECT_TRUE(source_.uncertain());
  source_.on_timer();
  source_.on_message(Query{.job = sample_job_id()});
  source_.on_disconnected();
  source_.on_connected();
  source_.cancel(HandoverEnd::Kind::kCancelled);
  EXPECT_TRUE(idle()) << "nothing is sent, and the gate is not let go";
}

TEST_F(HandoverSourceTest, ALostConnectionVoidsOnlyBeforeTheRelease) {
  begin();
  attempt();
  source_.on_disconnected();
  sent<Void>();
  next<Source::LetGo>();
  source_.on_connected();
  sent<Void>();
  source_.on_message(Voided{sample_job_id(), sample_id<AttemptId>(0x55)});
  release();
  source_.on_disconnected();
  EXPECT_TRUE(idle());
  source_.on_connected();
  sent<migration::Released>();
  sent<Query>();
}

TEST_F(HandoverSourceTest, AQuestionVoidsTheAttemptBeforeItIsAnswered) {
  begin();
  const HandoverTerms terms = attempt();
  source_.on_message(Query{.job = sample_job_id()});
  EXPECT_EQ(sent<Void>().attempt, terms.attempt);
  next<Source::LetGo>();
  const auto answer = sent<Answer>();
  EXPECT_EQ(answer.state, JobState::kActive);
  EXPECT_EQ(answer.number, 1U);
}

TEST_F(HandoverSourceTest, OwnedInAnOldEpochConfirmsNothing) {
  begin();
  release();
  source_.on_message(owned(1));
  Owned half = owned(2);
  half.disks.pop_back();
  source_.on_message(half);
  EXPECT_TRUE(idle());
  source_.on_message(owned(5));
  next<Source::Confirm>();
}

TEST_F(HandoverSourceTest, AConfirmationThatCannotBeWrittenIsAskedForAgain) {
  begin();
  release();
  source_.on_message(owned(2));
  next<Source::Confirm>();
  source_.on_confirmed(kBadly);
  EXPECT_TRUE(idle());
  source_.on_message(owned(2));
  next<Source::Confirm>();
}

TEST_F(HandoverSourceTest, CancelWithdrawsBeforeTheReleaseAndIsIgnoredAfterIt) {
  begin();
  attempt();
  source_.cancel(HandoverEnd::Kind::kCancelled);
  sent<Void>();
  next<Source::LetGo>();
  next<Source::Withdraw>();
  source_.on_withdrawn(kWell);
  const auto end = next<Source::Finish>().end;
  EXPECT_EQ(exit_code_of(end.kind), 7);
  EXPECT_NE(end.sentence.find("the source owns"), std::string::npos);

  Source released(sample_job(JobState::kReleased));
  released.start();
  next_of<Source::Send>(released);
  next_of<Source::Send>(released);
  released.cancel(HandoverEnd::Kind::kCancelled);
  EXPECT_FALSE(released.next_action().has_value());
}

TEST_F(HandoverSourceTest, AJobThatCannotBeginLeavesNothing) {
  source_.start();
  next<Source::Begin>();
  source_.on_begun(kBadly);
  next<Source::Withdraw>();
  source_.on_withdrawn(kWell);
  EXPECT_EQ(next<Source::Finish>().end.kind, HandoverEnd::Kind::kFailed);
}

TEST_F(HandoverSourceTest, AForcedDestinationMakesItYield) {
  begin();
  attempt();
  source_.on_message(owned(3));
  EXPECT_EQ(next<Source::Yield>().record.state, JobState::kConfirmed);
  EXPECT_EQ(exit_code_of(next<Source::Finish>().end.kind), 8);
}

TEST_F(HandoverSourceTest, ForceTakesBackOnlyWhatWasReleasedAndNotConfirmed) {
  begin();
  EXPECT_TRUE(test::failed_with(source_.force_owner(), Errc::kState));
  release();
  EXPECT_TRUE(test::succeeded(source_.force_owner()));
  EXPECT_EQ(next<Source::Take>().record.state, JobState::kReclaimed);
  source_.on_taken(kWell);
  next<Source::Settle>();
  EXPECT_EQ(next<Source::Finish>().end.kind, HandoverEnd::Kind::kReclaimed);
}

class DoubtfulSourceTest : public HandoverSourceTest {
 protected:
  DoubtfulSourceTest() {
    source_ = Source::in_doubt(sample_job(JobState::kActive));
    source_.start();
    EXPECT_EQ(sent<Query>().disks.size(), 2U);
  }
  Answer answer(JobState state) const {
    return {.job = sample_job_id(),
            .found = RecordFound::kReadable,
            .state = state,
            .terms = sample_job(state).terms()};
  }
};

TEST_F(DoubtfulSourceTest, OwnsIfTheDestinationIsReceiving) {
  EXPECT_NE(source_.owner_sentence().find("in doubt"), std::string::npos);
  source_.on_message(answer(JobState::kReceiving));
  next<Source::Withdraw>();
}

TEST_F(DoubtfulSourceTest, VoidsWhatTheDestinationPreparedBeforeItOwns) {
  source_.on_message(answer(JobState::kPrepared));
  EXPECT_EQ(sent<Void>().attempt, sample_id<AttemptId>(0x55));
  EXPECT_TRUE(idle());
  source_.on_message(Voided{sample_job_id(), sample_id<AttemptId>(0x55)});
  next<Source::Withdraw>();
}

TEST_F(DoubtfulSourceTest, ConfirmsWhatTheDestinationOwns) {
  source_.on_message(answer(JobState::kOwned));
  next<Source::Confirm>();
}

TEST_F(DoubtfulSourceTest, StaysInDoubtIfNobodyKnows) {
  source_.on_message(Answer{.job = sample_job_id()});
  EXPECT_TRUE(idle());
  source_.on_timer();
  sent<Query>();
}

}  // namespace
}  // namespace vhdxm::migration
