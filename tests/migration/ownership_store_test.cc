// What the store writes, and what it refuses; partly in a real folder.
#include "migration/ownership_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "migration/errc.h"
#include "tests/migration/sample_job.h"
#include "tests/support/crash_folder.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"

namespace vhdxm::migration {
namespace {

using test::failed_with;
using test::succeeded;
using Names = std::vector<std::string>;

class OwnershipStoreTest : public testing::Test {
 protected:
  OwnershipStoreTest() { folders_.at("disks"); }
  void own(std::size_t disks = 2) {
    for (const JobDisk& disk : sample_job(JobState::kActive, disks).disks) {
      folders_.at("disks").place(disk.place.name);
      ASSERT_TRUE(succeeded(store_.adopt(disk.place, disk.terms.id)));
    }
  }
  void release() {
    own();
    ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
    ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kReleased))));
    ASSERT_TRUE(succeeded(store_.settle(sample_job(JobState::kReleased))));
  }
  void receive() {
    JobRecord job = sample_job(JobState::kReceiving);
    ASSERT_TRUE(succeeded(store_.begin_target(job)));
    for (const JobDisk& disk : job.disks) {
      folders_.at("disks").place(OwnershipStore::partial_name(disk.place));
    }
  }
  OwnershipState state_of(std::size_t disk) {
    const auto place = sample_job(JobState::kActive).disks[disk].place;
    return store_.sidecar(place).value().value().state;
  }
  Names files() { return folders_.at("disks").list().value(); }
  Names records() { return state_.list().value(); }

  const DiskPlace place_{"disks", "d0.vhdx"};
  test::StepFaults faults_;
  test::CrashFolders folders_{faults_};
  test::CrashFolder state_{faults_};
  OwnershipStore store_{state_, folders_};
};

TEST_F(OwnershipStoreTest, ADiskWithoutASidecarIsItsHosts) {
  folders_.at("disks").place("d0.vhdx");
  EXPECT_TRUE(succeeded(store_.check_writable(place_)));
  const auto record = store_.adopt(place_, sample_id<OwnershipId>(0x10));
  ASSERT_TRUE(succeeded(record));
  EXPECT_EQ(record->epoch, 1U);
  const auto again = store_.adopt(place_, sample_id<OwnershipId>(0x99));
  EXPECT_EQ(again->id, sample_id<OwnershipId>(0x10)) << "it keeps its id";
  EXPECT_TRUE(succeeded(store_.check_writable(place_)));
  EXPECT_TRUE(failed_with(store_.adopt({"disks", "none.vhdx"}, sample_id<OwnershipId>(1)),
                          Errc::kNotOwner));
}

TEST_F(OwnershipStoreTest, OnlyItsJobWritesWhileADiskIsHandedOver) {
  own();
  ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
  EXPECT_TRUE(failed_with(store_.check_writable(place_), Errc::kInHandover));
  EXPECT_TRUE(succeeded(store_.check_writable(place_, sample_job_id())));
  ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kReleased))));
  EXPECT_TRUE(failed_with(store_.check_writable(place_, sample_job_id()), Errc::kNotOwner))
      << "the record decides, before the sidecars are settled";
  state_.lose(records().front());
  EXPECT_TRUE(failed_with(store_.check_writable(place_, sample_job_id()), Errc::kInDoubt));
}

TEST_F(OwnershipStoreTest, ADamagedSidecarLeavesItsDiskInDoubt) {
  own();
  folders_.at("disks").place("d0.vhdx.owner", "VHDXMOWN, but short");
  EXPECT_TRUE(failed_with(store_.check_writable(place_), Errc::kInDoubt));
  EXPECT_TRUE(failed_with(store_.begin_source(sample_job(JobState::kActive)), Errc::kInDoubt));
  const auto recovered = store_.recover();
  ASSERT_TRUE(succeeded(recovered));
  ASSERT_EQ(recovered->unreadable.size(), 1U);
  EXPECT_EQ(recovered->unreadable[0].place, place_);
}

TEST_F(OwnershipStoreTest, ASourceGivesOnlyWhatItOwns) {
  own();
  JobRecord job = sample_job(JobState::kActive);
  job.disks[1].terms.epoch = 2;
  EXPECT_TRUE(failed_with(store_.begin_source(job), Errc::kEpoch));
  job = sample_job(JobState::kActive);
  job.disks[1].terms.id = sample_id<OwnershipId>(0x99);
  EXPECT_TRUE(failed_with(store_.begin_source(job), Errc::kNotOwner));
  EXPECT_TRUE(records().empty()) << "nothing was begun";
  ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
  job = sample_job(JobState::kActive);
  job.job = sample_job_id(0x78);
  EXPECT_TRUE(failed_with(store_.begin_source(job), Errc::kInHandover));
}

TEST_F(OwnershipStoreTest, WithdrawnItIsAsBefore) {
  own();
  const Names before = files();
  ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
  EXPECT_EQ(state_of(1), OwnershipState::kHandover);
  ASSERT_TRUE(succeeded(store_.withdraw(sample_job(JobState::kActive))));
  EXPECT_EQ(state_of(1), OwnershipState::kOwned);
  EXPECT_EQ(files(), before);
  EXPECT_TRUE(records().empty());
}

TEST_F(OwnershipStoreTest, WhatIsForeseenIsNothingUntilItIsPut) {
  own();
  ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
  const std::string name = OwnershipStore::record_name(sample_job_id());
  const auto state = [&] { return store_.job(sample_job_id()).value().value().state; };
  ASSERT_TRUE(succeeded(store_.foresee(sample_job(JobState::kReleased))));
  EXPECT_EQ(state(), JobState::kActive);
  EXPECT_EQ(store_.jobs().value().size(), 1U) << "it is no record";
  const std::uint64_t before = faults_.steps;
  ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kReleased))));
  EXPECT_EQ(state(), JobState::kReleased);
  EXPECT_EQ(faults_.steps - before, 2U) << "a rename and a sync";
  EXPECT_EQ(records(), Names{name});
}

TEST_F(OwnershipStoreTest, WhatWasForeseenOtherwiseOrIsGoneDoesNotMatter) {
  own();
  ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
  const std::string name = OwnershipStore::record_name(sample_job_id());
  JobRecord other = sample_job(JobState::kReleased);
  other.attempt = sample_id<AttemptId>(0x77);
  ASSERT_TRUE(succeeded(store_.foresee(other)));
  ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kReleased))));
  EXPECT_EQ(store_.job(sample_job_id()).value()->attempt, sample_job(JobState::kReleased).attempt);
  // As another process does when it starts; or somebody wrote there.
  ASSERT_TRUE(succeeded(store_.foresee(other)));
  ASSERT_TRUE(succeeded(state_.remove(name + kNewEnding)));
  ASSERT_TRUE(succeeded(store_.put(other)));
  EXPECT_EQ(store_.job(sample_job_id()).value()->attempt, other.attempt);
  ASSERT_TRUE(succeeded(store_.foresee(sample_job(JobState::kReleased))));
  ASSERT_TRUE(succeeded(state_.write(name + kNewEnding, std::vector(2000, std::byte{1}))));
  ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kReleased))));
  EXPECT_EQ(store_.job(sample_job_id()).value()->attempt, sample_job(JobState::kReleased).attempt);
  EXPECT_EQ(records(), Names{name});
}

TEST_F(OwnershipStoreTest, AReleasedCopyIsReadOnlyAndKeptUntilItIsConfirmed) {
  release();
  EXPECT_EQ(files(),
            (Names{"d0.vhdx.owner", "d0.vhdx.released", "d1.vhdx.owner", "d1.vhdx.released"}));
  EXPECT_TRUE(folders_.at("disks").is_read_only("d0.vhdx.released"));
  EXPECT_TRUE(failed_with(store_.check_writable(place_), Errc::kNotOwner));
  EXPECT_TRUE(failed_with(store_.cleanup(sample_job_id()), Errc::kUnconfirmed));
  ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kConfirmed))));
  ASSERT_TRUE(succeeded(store_.cleanup(sample_job_id())));
  EXPECT_TRUE(files().empty());
  EXPECT_TRUE(records().empty());
  EXPECT_TRUE(succeeded(store_.cleanup(sample_job_id()))) << "again";
}

TEST_F(OwnershipStoreTest, ADestinationOwnsUnderTheDisksName) {
  receive();
  EXPECT_TRUE(failed_with(store_.check_writable(place_), Errc::kNotOwner));
  ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kPrepared))));
  EXPECT_TRUE(failed_with(store_.cleanup(sample_job_id()), Errc::kUnconfirmed));
  const JobRecord owned = sample_job(JobState::kOwned);
  ASSERT_TRUE(succeeded(store_.put(owned)));
  ASSERT_TRUE(succeeded(store_.give_names(owned)));
  ASSERT_TRUE(succeeded(store_.settle(owned)));
  ASSERT_TRUE(succeeded(store_.drop(owned)));
  EXPECT_EQ(files(), (Names{"d0.vhdx", "d0.vhdx.owner", "d1.vhdx", "d1.vhdx.owner"}));
  EXPECT_TRUE(records().empty());
  EXPECT_EQ(store_.sidecar(place_).value().value().epoch, 2U);
  EXPECT_TRUE(succeeded(store_.check_writable(place_)));
}

TEST_F(OwnershipStoreTest, WhatArrivesMustNotMeetAnotherDisk) {
  folders_.at("disks").place("d1.vhdx");
  JobRecord job = sample_job(JobState::kReceiving);
  EXPECT_TRUE(failed_with(store_.begin_target(job), Errc::kNameTaken));
  ASSERT_TRUE(succeeded(store_.adopt({"disks", "d1.vhdx"}, sample_id<OwnershipId>(0x99))));
  EXPECT_TRUE(failed_with(store_.begin_target(job), Errc::kNameTaken));
  EXPECT_TRUE(records().empty());
}

TEST_F(OwnershipStoreTest, NobodyGivesThisHostWhatItOwns) {
  own();
  JobRecord job = sample_job(JobState::kReceiving);
  EXPECT_TRUE(failed_with(store_.begin_target(job), Errc::kNotOwner));
  ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
  job.job = sample_job_id(0x78);
  EXPECT_TRUE(failed_with(store_.begin_target(job), Errc::kInHandover));
}

TEST_F(OwnershipStoreTest, AMoveBackAdoptsTheReleasedCopy) {
  release();
  JobRecord back = sample_job(JobState::kReceiving);
  back.job = sample_job_id(0x78);
  EXPECT_TRUE(failed_with(store_.begin_target(back), Errc::kEpoch))
      << "whoever offers epoch 1 has not got it from here";
  for (JobDisk& disk : back.disks) disk.terms.epoch = 2;
  ASSERT_TRUE(succeeded(store_.begin_target(back)));
  EXPECT_TRUE(back.disks[0].moves_back);
  EXPECT_EQ(files(),
            (Names{"d0.vhdx.owner", "d0.vhdx.partial", "d1.vhdx.owner", "d1.vhdx.partial"}));
  EXPECT_FALSE(folders_.at("disks").is_read_only("d0.vhdx.partial"));
  EXPECT_EQ(state_of(0), OwnershipState::kIncoming);
  EXPECT_EQ(store_.sidecar(place_).value().value().epoch, 3U);
  EXPECT_EQ(records(), Names{OwnershipStore::record_name(back.job)})
      << "the job that gave them away is over";
}

TEST_F(OwnershipStoreTest, AMoveBackOfOneDiskLeavesTheOther) {
  release();
  JobRecord back = sample_job(JobState::kReceiving, 1);
  back.job = sample_job_id(0x78);
  back.disks[0].terms.epoch = 2;
  ASSERT_TRUE(succeeded(store_.begin_target(back)));
  ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kConfirmed))));
  ASSERT_TRUE(succeeded(store_.cleanup(sample_job_id())));
  EXPECT_EQ(files(), (Names{"d0.vhdx.owner", "d0.vhdx.partial"}));
}

TEST_F(OwnershipStoreTest, ALaterJobGoesOnWithWhatAnEarlierOneLeft) {
  receive();
  JobRecord later = sample_job(JobState::kReceiving, 1);
  later.job = sample_job_id(0x78);
  ASSERT_TRUE(succeeded(store_.begin_target(later)));
  EXPECT_EQ(store_.sidecar(place_).value().value().job, later.job);
  EXPECT_EQ(store_.job(sample_job_id()).value().value().disks.size(), 1U)
      << "the other disk is still what the earlier job left";
  ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kPrepared))));
  later = sample_job(JobState::kReceiving);
  later.job = sample_job_id(0x79);
  later.source = sample_id<HostId>(0xa1);
  EXPECT_TRUE(failed_with(store_.begin_target(later), Errc::kInHandover))
      << "that job may yet make an owner of this host";
}

// A source that owns the disk still, and begins again, will never release what it began before.
TEST_F(OwnershipStoreTest, WhatWasPreparedIsVoidWhenItsSourceBeginsAgain) {
  receive();
  ASSERT_TRUE(succeeded(store_.put(sample_job(JobState::kPrepared))));
  JobRecord later = sample_job(JobState::kReceiving, 1);
  later.job = sample_job_id(0x78);
  JobRecord older = later;
  older.disks[0].terms.epoch = 0;
  EXPECT_TRUE(store_.begin_target(older).has_error()) << "of an epoch that is over";
  EXPECT_EQ(store_.job(sample_job_id()).value().value().state, JobState::kPrepared);
  ASSERT_TRUE(succeeded(store_.begin_target(later)));
  EXPECT_EQ(store_.sidecar(place_).value().value().job, later.job);
  const auto left = store_.job(sample_job_id()).value().value();
  EXPECT_EQ(left.state, JobState::kReceiving) << "all of its disks, or none";
  EXPECT_TRUE(left.attempt.is_zero());
  ASSERT_EQ(left.disks.size(), 1U);
  EXPECT_EQ(left.disks[0].terms.ledger, Hash128{});
}

TEST_F(OwnershipStoreTest, CleanupOfWhatArrivedLeavesOtherJobsDisks) {
  receive();
  JobRecord later = sample_job(JobState::kReceiving, 1);
  later.job = sample_job_id(0x78);
  ASSERT_TRUE(succeeded(store_.begin_target(later)));
  ASSERT_TRUE(succeeded(store_.cleanup(sample_job_id())));
  EXPECT_EQ(files(), (Names{"d0.vhdx.owner", "d0.vhdx.partial"}));
  EXPECT_EQ(records(), Names{OwnershipStore::record_name(later.job)});
}

TEST_F(OwnershipStoreTest, AStartWithdrawsWhatWasNotReleased) {
  own();
  ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
  const auto recovered = store_.recover();
  ASSERT_TRUE(succeeded(recovered));
  EXPECT_TRUE(recovered->jobs.empty());
  EXPECT_TRUE(succeeded(store_.check_writable(place_)));
  EXPECT_TRUE(records().empty());
}

TEST_F(OwnershipStoreTest, AStartLeavesAloneWhatALivingProcessSeesTo) {
  own();
  ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
  const auto recovered = store_.recover([this](const DiskPlace& place) { return place == place_; });
  ASSERT_TRUE(succeeded(recovered));
  EXPECT_EQ(store_.job(sample_job_id()).value().value().state, JobState::kActive);
  EXPECT_EQ(state_of(0), OwnershipState::kHandover);
  EXPECT_EQ(state_of(1), OwnershipState::kHandover) << "it is the same job's";
  ASSERT_TRUE(succeeded(store_.recover()));
  EXPECT_EQ(state_of(0), OwnershipState::kOwned);
}

TEST_F(OwnershipStoreTest, AStartFindsDisksInDoubt) {
  own();
  ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
  state_.lose(records().front());
  const auto recovered = store_.recover();
  ASSERT_TRUE(succeeded(recovered));
  ASSERT_EQ(recovered->doubtful_jobs.size(), 1U);
  EXPECT_EQ(recovered->doubtful_jobs[0], sample_job(JobState::kActive));
}

TEST_F(OwnershipStoreTest, AStartMakesTheRecordOfAReleaseAgain) {
  release();
  state_.lose(records().front());
  const auto recovered = store_.recover();
  ASSERT_TRUE(succeeded(recovered));
  EXPECT_TRUE(recovered->doubtful_jobs.empty());
  ASSERT_EQ(recovered->jobs.size(), 1U);
  EXPECT_EQ(recovered->jobs[0], sample_job(JobState::kReleased));
  EXPECT_EQ(store_.job(sample_job_id()).value().value(), sample_job(JobState::kReleased));
}

TEST_F(OwnershipStoreTest, OneReleasedSidecarReleasesAllOfItsJob) {
  own();
  ASSERT_TRUE(succeeded(store_.begin_source(sample_job(JobState::kActive))));
  JobRecord first = sample_job(JobState::kReleased);
  ASSERT_TRUE(succeeded(store_.put(first)));
  first.disks.pop_back();
  ASSERT_TRUE(succeeded(store_.settle(first)));
  state_.lose(records().front());
  const auto recovered = store_.recover();
  ASSERT_TRUE(succeeded(recovered));
  EXPECT_TRUE(recovered->doubtful_jobs.empty());
  EXPECT_EQ(state_of(1), OwnershipState::kReleased);
}

TEST_F(OwnershipStoreTest, AnswersWithRecordAndSidecars) {
  Query query{.job = sample_job_id(),
              .disks = {sample_id<OwnershipId>(0x10), sample_id<OwnershipId>(0x99)}};
  auto answer = store_.answer(query).value();
  EXPECT_EQ(answer.found, RecordFound::kNone);
  ASSERT_EQ(answer.disks.size(), 2U);
  EXPECT_EQ(answer.disks[0].found, RecordFound::kNone);
  release();
  answer = store_.answer(query).value();
  EXPECT_EQ(answer.state, JobState::kReleased);
  EXPECT_EQ(answer.terms, sample_job(JobState::kReleased).terms());
  EXPECT_EQ(answer.disks[0].sidecar.state, OwnershipState::kReleased);
  EXPECT_EQ(answer.disks[1].found, RecordFound::kNone);
  state_.place(records().front(), "damaged");
  EXPECT_EQ(store_.answer(query).value().found, RecordFound::kUnreadable);
}

// The whole way there and back in folders of a real file system.
TEST(OwnershipStoreInFolders, ADiskGoesAndComesBack) {
  test::TempFolder here;
  test::TempFolder there;
  const auto store_of = [](const test::TempFolder& folder, DirectoryFolders& folders) {
    auto directory = Directory::open(folder.path()).value();
    auto state =
        std::make_unique<DirectoryFiles>(directory->open_or_make_folder(".vhdx-migrate").value());
    auto store = std::make_unique<OwnershipStore>(*state, folders);
    return std::pair(std::move(state), std::move(store));
  };
  DirectoryFolders here_folders({here.path()});
  DirectoryFolders there_folders({there.path()});
  const auto [here_state, source] = store_of(here, here_folders);
  const auto [there_state, target] = store_of(there, there_folders);
  std::ofstream(here / "d0.vhdx") << "content";

  JobRecord out = sample_job(JobState::kActive, 1);
  out.disks[0].place.folder = here.path();
  ASSERT_TRUE(succeeded(source->adopt(out.disks[0].place, out.disks[0].terms.id)));
  ASSERT_TRUE(succeeded(source->begin_source(out)));
  JobRecord in = sample_job(JobState::kReceiving, 1);
  in.disks[0].place.folder = there.path();
  ASSERT_TRUE(succeeded(target->begin_target(in)));
  std::filesystem::copy(here / "d0.vhdx", there / "d0.vhdx.partial");
  in.attempt = out.attempt = sample_id<AttemptId>(0x55);
  in.state = JobState::kPrepared;
  ASSERT_TRUE(succeeded(target->put(in)));
  out.state = JobState::kReleased;
  ASSERT_TRUE(succeeded(source->put(out)));
  ASSERT_TRUE(succeeded(source->settle(out)));
  in.state = JobState::kOwned;
  ASSERT_TRUE(succeeded(target->put(in)));
  ASSERT_TRUE(succeeded(target->give_names(in)));
  ASSERT_TRUE(succeeded(target->settle(in)));
  ASSERT_TRUE(succeeded(target->drop(in)));
  EXPECT_TRUE(std::filesystem::exists(there / "d0.vhdx"));
  struct stat status {};
  ASSERT_EQ(::stat((here / "d0.vhdx.released").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0222U, 0U);

  JobRecord back = sample_job(JobState::kReceiving, 1);
  back.job = sample_job_id(0x78);
  back.disks[0].place.folder = here.path();
  back.disks[0].terms.epoch = 2;
  ASSERT_TRUE(succeeded(source->begin_target(back)));
  back.attempt = sample_id<AttemptId>(0x66);
  back.state = JobState::kOwned;
  ASSERT_TRUE(succeeded(source->put(back)));
  ASSERT_TRUE(succeeded(source->recover())) << "as after a crash";
  EXPECT_TRUE(std::filesystem::exists(here / "d0.vhdx"));
  EXPECT_FALSE(std::filesystem::exists(here / "d0.vhdx.released"));
  EXPECT_EQ(source->sidecar(back.disks[0].place).value().value().epoch, 3U);
  EXPECT_TRUE(succeeded(source->check_writable(back.disks[0].place)));
}

}  // namespace
}  // namespace vhdxm::migration
