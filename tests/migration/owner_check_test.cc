// A program that is not the host's service asks a disk's owner record before it writes.
#include "migration/owner_check.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "migration/errc.h"
#include "migration/job_record.h"
#include "migration/ownership_record.h"
#include "migration/ownership_store.h"
#include "tests/migration/sample_job.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"

namespace vhdxm::migration {
namespace {

using test::failed_with;
using test::succeeded;

class OwnerCheck : public testing::Test {
 protected:
  void put(OwnershipState state) {
    OwnershipRecord record{.id = sample_id<OwnershipId>(1), .epoch = 2, .state = state};
    if (state != OwnershipState::kOwned) {
      record.job = sample_job_id();
      record.source = kSourceHost;
      record.target = kTargetHost;
    }
    if (state == OwnershipState::kReleased) record.attempt = sample_id<AttemptId>(5);
    const auto bytes = encode(record);
    std::ofstream(folder_ / "a.vhdx.owner", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  Result<void> asked(const char* name = "a.vhdx") { return check_owner_record(folder_ / name); }

  test::TempFolder folder_;
};

TEST_F(OwnerCheck, LetsWriteToWhatThisHostOwnsAlone) {
  EXPECT_TRUE(succeeded(asked())) << "no record: it is its host's";
  put(OwnershipState::kOwned);
  EXPECT_TRUE(succeeded(asked()));
  EXPECT_TRUE(failed_with(asked("a.vhdx.partial"), Errc::kNotOwner));
  put(OwnershipState::kHandover);
  EXPECT_TRUE(failed_with(asked(), Errc::kInHandover));
  for (const auto state :
       {OwnershipState::kReleased, OwnershipState::kReceiving, OwnershipState::kIncoming}) {
    put(state);
    EXPECT_TRUE(failed_with(asked(), Errc::kNotOwner));
    EXPECT_TRUE(failed_with(asked("a.vhdx.partial"), Errc::kNotOwner));
    EXPECT_TRUE(failed_with(asked("a.vhdx.released"), Errc::kNotOwner));
    EXPECT_TRUE(succeeded(asked("b.vhdx"))) << "another disk";
  }
}

TEST_F(OwnerCheck, ARecordThatCannotBeReadIsADoubt) {
  std::ofstream(folder_ / "a.vhdx.owner") << "no record";
  EXPECT_TRUE(failed_with(asked(), Errc::kInDoubt));
  std::ofstream(folder_ / "a.vhdx.owner") << std::string(kOwnershipRecordBytes + 1, 'x');
  EXPECT_TRUE(failed_with(asked(), Errc::kInDoubt));
}

// What has just arrived may be served before its owner record says so; never before its job's does.
TEST_F(OwnerCheck, LetsAMoverServeWhatTheJobsRecordSaysIsTaken) {
  const std::string state = folder_ / "state";
  std::filesystem::create_directories(state + "/handover");
  const auto taken = [&] { return check_taken_record(folder_ / "a.vhdx", state); };
  JobRecord job = sample_job(JobState::kOwned, 1);
  job.disks.front().place.name = "a.vhdx";
  job.disks.front().terms.id = sample_id<OwnershipId>(1);
  const auto put_job = [&](JobState now) {
    job.state = now;
    const auto bytes = encode(job);
    std::ofstream(state + "/handover/" + OwnershipStore::record_name(job.job), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  };
  EXPECT_TRUE(succeeded(taken())) << "no record: it is its host's";
  for (const auto arriving : {OwnershipState::kReceiving, OwnershipState::kIncoming}) {
    put(arriving);
    std::filesystem::remove(state + "/handover/" + OwnershipStore::record_name(job.job));
    EXPECT_TRUE(failed_with(taken(), Errc::kNotOwner)) << "no job's record";
    put_job(JobState::kPrepared);
    EXPECT_TRUE(failed_with(taken(), Errc::kNotOwner));
    put_job(JobState::kOwned);
    EXPECT_TRUE(succeeded(taken()));
    EXPECT_TRUE(failed_with(asked(), Errc::kNotOwner)) << "nobody else may";
    job.disks.front().terms.id = sample_id<OwnershipId>(9);
    put_job(JobState::kOwned);
    EXPECT_TRUE(failed_with(taken(), Errc::kNotOwner)) << "another disk of that name";
    job.disks.front().terms.id = sample_id<OwnershipId>(1);
  }
  put(OwnershipState::kReleased);
  put_job(JobState::kOwned);
  EXPECT_TRUE(failed_with(taken(), Errc::kNotOwner));
  put(OwnershipState::kOwned);
  EXPECT_TRUE(succeeded(taken()));
}

}  // namespace
}  // namespace vhdxm::migration
