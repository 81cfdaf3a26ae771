// Two hosts meet after a hand-over that was cut short: whatever each of them has written down, one
// of them owns the disks in the end, or it is said that it is unclear.
#include "migration/handover_meeting.h"

#include <gtest/gtest.h>

#include "migration/errc.h"
#include "migration/handover_codec.h"
#include "migration/journal_arbiter.h"
#include "tests/migration/sample_job.h"
#include "tests/support/crash_folder.h"
#include "tests/support/expect_error.h"

namespace vhdxm::migration {
namespace {

using test::succeeded;

struct MeetingHost {
  explicit MeetingHost(HostId id) : ownership{.id = id, .store = store, .arbiter = arbiter} {
    folders.at("disks");
  }
  OwnershipState state_of(std::size_t disk) {
    return store.sidecar(sample_job(JobState::kActive).disks[disk].place).value().value().state;
  }
  bool may_write() { return store.check_writable({"disks", "d0.vhdx"}).has_value(); }

  test::StepFaults faults;
  test::CrashFolders folders{faults};
  test::CrashFolder state{faults};
  OwnershipStore store{state, folders};
  JournalArbiter arbiter{store};
  HostOwnership ownership;
};

class HandoverMeeting : public testing::Test {
 protected:
  HandoverMeeting() {
    for (const JobDisk& disk : sample_job(JobState::kActive).disks) {
      source_.folders.at("disks").place(disk.place.name);
      EXPECT_TRUE(succeeded(source_.store.adopt(disk.place, disk.terms.id)));
      target_.folders.at("disks").place(OwnershipStore::partial_name(disk.place));
    }
    EXPECT_TRUE(succeeded(source_.store.begin_source(sample_job(JobState::kActive))));
    JobRecord arriving = sample_job(JobState::kReceiving);
    EXPECT_TRUE(succeeded(target_.store.begin_target(arriving)));
  }
  void prepare() { ASSERT_TRUE(succeeded(target_.store.put(sample_job(JobState::kPrepared)))); }
  void release() {
    ASSERT_TRUE(succeeded(source_.store.put(sample_job(JobState::kReleased))));
    ASSERT_TRUE(succeeded(source_.store.settle(sample_job(JobState::kReleased))));
  }
  void take() {
    const JobRecord owned = sample_job(JobState::kOwned);
    ASSERT_TRUE(succeeded(target_.arbiter.acquire(owned)));
    ASSERT_TRUE(succeeded(target_.store.settle(owned)));
  }

  /// As the two ends of a connection do.
  CallFunction call() {
    return [this](const transfer::HandoverBody& body)
               -> boost::system::result<transfer::HandoverBody, transfer::Failure> {
      ++calls_;
      const auto message = decode_handover(body);
      EXPECT_TRUE(succeeded(message));
      auto answer = answer_meeting(target_.ownership, *message, [this](const auto& places) {
        taken_ += places.size();
        return Result<void>();
      });
      if (answer.has_error()) {
        return transfer::Failure{.failure_class = transfer::FailureClass::kFailed,
                                 .error = answer.error(),
                                 .message = {},
                                 .advice = {}};
      }
      if (answer->taken) {
        EXPECT_TRUE(succeeded(target_.store.drop(*answer->taken)));
      }
      return encode(answer->message);
    };
  }
  MeetingEnd meet(JobState state, bool in_doubt = false) {
    return meet_destination(source_.ownership, sample_job(state), in_doubt, call());
  }
  void expect_target_owns() {
    EXPECT_FALSE(source_.may_write());
    EXPECT_TRUE(target_.may_write());
    for (const std::size_t disk : {std::size_t{0}, std::size_t{1}}) {
      EXPECT_EQ(source_.state_of(disk), OwnershipState::kReleased);
      EXPECT_EQ(target_.state_of(disk), OwnershipState::kOwned);
    }
    EXPECT_EQ(source_.store.job(sample_job_id()).value().value().state, JobState::kConfirmed);
  }

  MeetingHost source_{kSourceHost};
  MeetingHost target_{kTargetHost};
  std::size_t taken_ = 0;
  unsigned calls_ = 0;
};

TEST_F(HandoverMeeting, APreparedDestinationTakesWhatWasReleased) {
  prepare();
  release();
  const MeetingEnd end = meet(JobState::kReleased);
  ASSERT_TRUE(end.end.has_value());
  EXPECT_EQ(end.end->kind, HandoverEnd::Kind::kDone);
  EXPECT_EQ(calls_, 1U);
  EXPECT_EQ(taken_, 2U) << "their files were seen to before";
  expect_target_owns();
}

TEST_F(HandoverMeeting, ADestinationThatTookItSaysSoAlsoWithoutItsRecord) {
  for (const bool dropped : {false, true}) {
    SCOPED_TRACE(dropped);
    if (!dropped) {
      prepare();
      release();
      take();
    } else {
      ASSERT_TRUE(succeeded(target_.store.drop(sample_job(JobState::kOwned))));
    }
    const MeetingEnd end = meet(JobState::kReleased);
    ASSERT_TRUE(end.end.has_value());
    EXPECT_EQ(end.end->kind, HandoverEnd::Kind::kDone);
    EXPECT_EQ(taken_, 0U) << "nothing is taken twice";
    expect_target_owns();
  }
}

TEST_F(HandoverMeeting, NobodyThereLeavesItUnclear) {
  prepare();
  release();
  const MeetingEnd end =
      meet_destination(source_.ownership, sample_job(JobState::kReleased), false,
                       [](const transfer::HandoverBody&)
                           -> boost::system::result<transfer::HandoverBody, transfer::Failure> {
                         return transfer::Failure{.failure_class = transfer::FailureClass::kNetwork,
                                                  .error = Error{.code = BaseErrc::kShortRead},
                                                  .message = "nobody",
                                                  .advice = {}};
                       });
  EXPECT_FALSE(end.end.has_value());
  ASSERT_TRUE(end.failure.has_value());
  EXPECT_EQ(end.failure->message, "nobody");
  EXPECT_FALSE(source_.may_write());
  EXPECT_FALSE(target_.may_write());
}

TEST_F(HandoverMeeting, AnotherAttemptIsNotTaken) {
  JobRecord other = sample_job(JobState::kPrepared);
  other.attempt = sample_id<AttemptId>(0x66);
  ASSERT_TRUE(succeeded(target_.store.put(other)));
  release();
  const MeetingEnd end = meet(JobState::kReleased);
  EXPECT_FALSE(end.end.has_value());
  EXPECT_FALSE(source_.may_write());
  EXPECT_FALSE(target_.may_write());
  EXPECT_EQ(taken_, 0U);
}

TEST_F(HandoverMeeting, ASourceInDoubtKeepsWhatNobodyTookAndTheDestinationForgets) {
  for (const bool prepared : {true, false}) {
    SCOPED_TRACE(prepared);
    if (prepared) prepare();
    source_.state.lose(OwnershipStore::record_name(sample_job_id()));
    if (!prepared) {
      // Again from the beginning: the record is lost once more.
      ASSERT_TRUE(succeeded(source_.store.begin_source(sample_job(JobState::kActive))));
      source_.state.lose(OwnershipStore::record_name(sample_job_id()));
    }
    EXPECT_FALSE(source_.may_write());
    const MeetingEnd end = meet(JobState::kActive, true);
    ASSERT_TRUE(end.end.has_value());
    EXPECT_EQ(end.end->kind, HandoverEnd::Kind::kFailed);
    EXPECT_TRUE(source_.may_write());
    EXPECT_EQ(target_.store.job(sample_job_id()).value().value().state, JobState::kReceiving);
  }
}

TEST_F(HandoverMeeting, ByForceEitherSideOwnsTwoEpochsLater) {
  prepare();
  release();
  const auto taken = take_by_force(target_.ownership, sample_job(JobState::kPrepared),
                                   [](const auto&) { return Result<void>(); });
  ASSERT_TRUE(succeeded(taken));
  EXPECT_TRUE(target_.may_write());
  EXPECT_EQ(target_.store.sidecar({"disks", "d0.vhdx"}).value().value().epoch, 3U);
  EXPECT_TRUE(test::failed_with(
      take_by_force(target_.ownership, sample_job(JobState::kReceiving), {}), Errc::kState));

  const auto sentence =
      take_back_by_force(source_.ownership, sample_job(JobState::kReleased), false);
  ASSERT_TRUE(succeeded(sentence));
  EXPECT_NE(sentence->find("by force"), std::string::npos);
  EXPECT_TRUE(source_.may_write());
  EXPECT_EQ(source_.store.sidecar({"disks", "d0.vhdx"}).value().value().epoch, 3U);
  EXPECT_EQ(source_.folders.at("disks").list().value(),
            (std::vector<std::string>{"d0.vhdx", "d0.vhdx.owner", "d1.vhdx", "d1.vhdx.owner"}));
}

}  // namespace
}  // namespace vhdxm::migration
