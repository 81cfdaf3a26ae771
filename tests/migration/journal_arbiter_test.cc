#include "migration/journal_arbiter.h"

#include <gtest/gtest.h>

#include "migration/errc.h"
#include "tests/migration/sample_job.h"
#include "tests/support/crash_folder.h"
#include "tests/support/expect_error.h"

namespace vhdxm::migration {
namespace {

using test::succeeded;
using Holder = OwnershipArbiter::Holder;

class JournalArbiterTest : public testing::Test {
 protected:
  Holder holder() { return arbiter_.owner(sample_id<OwnershipId>(0x10)).value().holder; }

  test::StepFaults faults_;
  test::CrashFolders folders_{faults_};
  test::CrashFolder state_{faults_};
  OwnershipStore store_{state_, folders_};
  JournalArbiter arbiter_{store_};
};

TEST_F(JournalArbiterTest, ASourceOwnsUntilItCommits) {
  EXPECT_EQ(holder(), Holder::kUnknown);
  const JobRecord active = sample_job(JobState::kActive);
  for (const JobDisk& disk : active.disks) {
    folders_.at("disks").place(disk.place.name);
    ASSERT_TRUE(succeeded(store_.adopt(disk.place, disk.terms.id)));
  }
  EXPECT_EQ(holder(), Holder::kThisHost);
  ASSERT_TRUE(succeeded(store_.begin_source(active)));
  EXPECT_EQ(holder(), Holder::kThisHost);
  ASSERT_TRUE(succeeded(arbiter_.commit(sample_job(JobState::kReleased))));
  EXPECT_EQ(holder(), Holder::kOtherHost) << "the sidecars are not settled yet";
  ASSERT_TRUE(succeeded(store_.settle(sample_job(JobState::kReleased))));
  EXPECT_EQ(holder(), Holder::kOtherHost);
  state_.lose(OwnershipStore::record_name(active.job));
  EXPECT_EQ(holder(), Holder::kOtherHost);
}

TEST_F(JournalArbiterTest, ADestinationOwnsWhenItHasAcquired) {
  JobRecord job = sample_job(JobState::kReceiving);
  folders_.at("disks");
  ASSERT_TRUE(succeeded(store_.begin_target(job)));
  for (const JobDisk& disk : job.disks) {
    folders_.at("disks").place(OwnershipStore::partial_name(disk.place));
  }
  EXPECT_EQ(holder(), Holder::kOtherHost);
  ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kPrepared))));
  EXPECT_EQ(holder(), Holder::kOtherHost);
  const auto token = arbiter_.acquire(sample_job(JobState::kOwned));
  ASSERT_TRUE(succeeded(token));
  EXPECT_EQ(token->value, 2U);
  EXPECT_EQ(holder(), Holder::kThisHost);
  EXPECT_TRUE(folders_.at("disks").exists("d0.vhdx").value());
  ASSERT_TRUE(succeeded(store_.settle(sample_job(JobState::kOwned))));
  EXPECT_EQ(holder(), Holder::kThisHost);
}

TEST_F(JournalArbiterTest, WithoutTheJobsRecordItIsInDoubt) {
  const JobRecord active = sample_job(JobState::kActive, 1);
  folders_.at("disks").place("d0.vhdx");
  ASSERT_TRUE(succeeded(store_.adopt(active.disks[0].place, active.disks[0].terms.id)));
  ASSERT_TRUE(succeeded(store_.begin_source(active)));
  state_.lose(OwnershipStore::record_name(active.job));
  EXPECT_EQ(holder(), Holder::kInDoubt);
}

TEST_F(JournalArbiterTest, ACommitThatFailsIsTold) {
  faults_.fails_at = faults_.steps + 2;  // The sync of the folder: it may stand, or not.
  EXPECT_TRUE(arbiter_.commit(sample_job(JobState::kReleased)).has_error());
}

}  // namespace
}  // namespace vhdxm::migration
