#include "migration/handover_target.h"

#include <gtest/gtest.h>

#include "migration/errc.h"
#include "tests/migration/handover_steps.h"
#include "tests/migration/sample_job.h"
#include "tests/support/expect_error.h"

namespace vhdxm::migration {
namespace {

using Target = HandoverTarget;

const std::vector<Hash128> kLedgers = {{100, 200}, {101, 201}};  // those of sample_job()

class HandoverTargetTest : public testing::Test {
 protected:
  template <class Kind>
  Kind next() {
    return next_of<Kind>(target_);
  }
  template <class Kind>
  Kind sent() {
    return sent_by<Kind>(target_);
  }
  bool idle() { return is_idle(target_); }
  static HandoverTerms terms(std::uint8_t attempt = 0x55) {
    HandoverTerms terms = sample_job(JobState::kPrepared).terms();
    terms.attempt = sample_id<AttemptId>(attempt);
    return terms;
  }

  void begin() {
    target_.start();
    next<Target::Begin>();
    target_.on_begun(kWell);
    target_.on_connected();
    EXPECT_TRUE(target_.may_write_data());
  }
  void prepare(std::uint64_t number = 1, std::uint8_t attempt = 0x55) {
    target_.on_message(Prepare{number, terms(attempt)});
    next<Target::Seal>();
    EXPECT_FALSE(target_.may_write_data());
    target_.on_sealed(kLedgers);
    const auto record = next<Target::Write>().record;
    EXPECT_EQ(record.state, JobState::kPrepared);
    EXPECT_EQ(record.terms(), terms(attempt));
    EXPECT_TRUE(idle()) << "nothing is said before it is durable";
    target_.on_written(kWell);
    EXPECT_EQ(sent<Prepared>().terms, terms(attempt));
  }

  Target target_{sample_job(JobState::kReceiving)};
};

TEST_F(HandoverTargetTest, ForeseesWhatItWillTake) {
  begin();
  EXPECT_FALSE(target_.foreseen()) << "nothing is prepared";
  prepare();
  const auto foreseen = target_.foreseen();
  ASSERT_TRUE(foreseen);
  target_.on_message(Released{terms()});
  EXPECT_FALSE(target_.foreseen());
  EXPECT_EQ(next<Target::Take>().record, *foreseen);
}

TEST_F(HandoverTargetTest, OwnsWhatWasReleasedToIt) {
  begin();
  prepare();
  EXPECT_FALSE(target_.may_write_data());
  target_.on_message(Released{terms()});
  EXPECT_EQ(next<Target::Take>().record.state, JobState::kOwned);
  EXPECT_TRUE(idle()) << "nothing is served before it is durable";
  target_.on_taken(kWell);
  next<Target::TakeOver>();
  const auto owned = sent<Owned>();
  ASSERT_EQ(owned.disks.size(), 2U);
  EXPECT_EQ(owned.disks[0].epoch, 2U);
  next<Target::Settle>();
  EXPECT_EQ(next<Target::Finish>().end.kind, HandoverEnd::Kind::kDone);
  target_.on_message(Released{terms()});
  sent<Owned>();
  EXPECT_TRUE(target_.owns());
}

TEST_F(HandoverTargetTest, EveryFieldOfAReleaseIsCompared) {
  begin();
  prepare();
  for (int field = 0; field < 8; ++field) {
    HandoverTerms other = terms();
    if (field == 0) other.job = sample_job_id(0x78);
    if (field == 1) other.attempt = sample_id<AttemptId>(0x56);
    if (field == 2) other.source = sample_id<HostId>(1);
    if (field == 3) other.target = sample_id<HostId>(1);
    if (field == 4) other.disks[1].id = sample_id<OwnershipId>(1);
    if (field == 5) other.disks[1].epoch = 2;
    if (field == 6) other.disks[1].ledger.high ^= 1;
    if (field == 7) other.disks.pop_back();
    target_.on_message(Released{other});
    EXPECT_TRUE(idle()) << field;
  }
}

TEST_F(HandoverTargetTest, NeverOwnsWhatIsNotPrepared) {
  begin();
  target_.on_message(Released{terms()});
  EXPECT_TRUE(idle());
  target_.on_message(Prepare{1, terms()});
  next<Target::Seal>();
  target_.on_message(Released{terms()});
  EXPECT_TRUE(idle());
  target_.on_sealed(kLedgers);
  next<Target::Write>();
  target_.on_message(Released{terms()});
  EXPECT_TRUE(idle());
  EXPECT_TRUE(test::failed_with(target_.force_owner(), Errc::kState));
}

TEST_F(HandoverTargetTest, RefusesLedgersThatDiffer) {
  begin();
  target_.on_message(Prepare{1, terms()});
  next<Target::Seal>();
  auto ledgers = kLedgers;
  ledgers[1].low ^= 1;
  target_.on_sealed(ledgers);
  EXPECT_NE(sent<PrepareRefused>().reason.find("not what was sent"), std::string::npos);
  EXPECT_TRUE(target_.may_write_data());
}

TEST_F(HandoverTargetTest, RefusesWhatItCannotSeal) {
  begin();
  target_.on_message(Prepare{1, terms()});
  next<Target::Seal>();
  target_.on_sealed(Error{.code = BaseErrc::kInjected});
  EXPECT_EQ(sent<PrepareRefused>().attempt, terms().attempt);
  EXPECT_TRUE(target_.may_write_data());
}

TEST_F(HandoverTargetTest, RefusesAnotherJobsDisks) {
  begin();
  HandoverTerms other = terms();
  other.disks[0].epoch = 9;
  target_.on_message(Prepare{1, other});
  sent<PrepareRefused>();
  EXPECT_TRUE(idle());
}

TEST_F(HandoverTargetTest, ForgetsAVoidAttemptBeforeItSaysSo) {
  begin();
  prepare();
  target_.on_message(Void{sample_job_id(), 1, terms().attempt});
  const auto record = next<Target::Write>().record;
  EXPECT_EQ(record.state, JobState::kReceiving);
  EXPECT_TRUE(record.attempt.is_zero());
  EXPECT_TRUE(idle());
  EXPECT_FALSE(target_.may_write_data());
  target_.on_message(Released{terms()});
  EXPECT_TRUE(idle());
  target_.on_written(kWell);
  EXPECT_EQ(sent<Voided>().attempt, terms().attempt);
  EXPECT_TRUE(target_.may_write_data());
  target_.on_message(Prepare{1, terms()});
  EXPECT_TRUE(idle()) << "the attempt is dead, however late its Prepare comes again";
  prepare(2, 0x56);
}

TEST_F(HandoverTargetTest, AnOldVoidDoesNotTouchANewAttempt) {
  begin();
  prepare(2, 0x56);
  target_.on_message(Void{sample_job_id(), 1, terms(0x55).attempt});
  EXPECT_TRUE(idle());
  target_.on_message(Released{terms(0x56)});
  next<Target::Take>();
}

TEST_F(HandoverTargetTest, AVoidThatComesWhileItSealsIsObeyedAfterwards) {
  begin();
  target_.on_message(Prepare{1, terms()});
  next<Target::Seal>();
  target_.on_message(Void{sample_job_id(), 1, terms().attempt});
  EXPECT_TRUE(idle());
  target_.on_sealed(kLedgers);
  sent<Voided>();
  EXPECT_TRUE(target_.may_write_data());

  target_.on_message(Prepare{2, terms(0x56)});
  next<Target::Seal>();
  target_.on_sealed(kLedgers);
  next<Target::Write>();
  target_.on_message(Void{sample_job_id(), 2, terms(0x56).attempt});
  target_.on_written(kWell);
  EXPECT_EQ(next<Target::Write>().record.state, JobState::kReceiving);
  target_.on_written(kWell);
  sent<Voided>();
}

TEST_F(HandoverTargetTest, ARecordThatCannotBeWrittenIsNotPromised) {
  begin();
  target_.on_message(Prepare{1, terms()});
  next<Target::Seal>();
  target_.on_sealed(kLedgers);
  next<Target::Write>();
  target_.on_written(kBadly);
  sent<PrepareRefused>();
  next<Target::Finish>();
  EXPECT_TRUE(target_.broken());
  target_.on_message(Released{terms()});
  target_.on_message(Prepare{2, terms(0x56)});
  EXPECT_TRUE(idle());
}

TEST_F(HandoverTargetTest, OwnershipThatCannotBeWrittenIsNotServed) {
  begin();
  prepare();
  target_.on_message(Released{terms()});
  next<Target::Take>();
  target_.on_taken(kBadly);
  EXPECT_EQ(exit_code_of(next<Target::Finish>().end.kind), 8);
  EXPECT_TRUE(idle());
  EXPECT_FALSE(target_.owns());
}

TEST_F(HandoverTargetTest, PreparedItCannotBeCancelledHere) {
  begin();
  prepare();
  EXPECT_TRUE(test::failed_with(target_.cancel(HandoverEnd::Kind::kCancelled), Errc::kUnconfirmed));
  EXPECT_TRUE(idle());
}

TEST_F(HandoverTargetTest, AfterAStartItAsksAndWaits) {
  target_ = Target(sample_job(JobState::kPrepared));
  target_.start();
  EXPECT_EQ(sent<Query>().disks.size(), 2U);
  target_.on_timer();
  sent<Query>();
  EXPECT_FALSE(target_.owns());
  target_.on_message(Released{terms()});
  next<Target::Take>();
}

TEST_F(HandoverTargetTest, AnAnswerDecides) {
  target_ = Target(sample_job(JobState::kPrepared));
  target_.start();
  sent<Query>();
  Answer answer{.job = sample_job_id(), .found = RecordFound::kReadable, .terms = terms()};
  answer.state = JobState::kReleased;
  answer.terms.attempt = sample_id<AttemptId>(1);
  target_.on_message(answer);
  EXPECT_TRUE(idle()) << "another attempt was released";
  answer.state = JobState::kActive;
  target_.on_message(answer);
  EXPECT_EQ(next<Target::Write>().record.state, JobState::kReceiving);
}

TEST_F(HandoverTargetTest, AnAnswerFromBeforeTheAttemptDecidesNothing) {
  begin();
  prepare(2, 0x56);
  target_.on_message(Answer{.job = sample_job_id(),
                            .found = RecordFound::kReadable,
                            .state = JobState::kActive,
                            .number = 1});
  EXPECT_TRUE(idle());
}

TEST_F(HandoverTargetTest, ForceTakesWhatIsPreparedInALaterEpoch) {
  begin();
  prepare();
  ASSERT_TRUE(test::succeeded(target_.force_owner()));
  const auto record = next<Target::Take>().record;
  EXPECT_TRUE(record.forced);
  target_.on_taken(kWell);
  next<Target::TakeOver>();
  EXPECT_EQ(sent<Owned>().disks[0].epoch, 3U);
}

}  // namespace
}  // namespace vhdxm::migration
