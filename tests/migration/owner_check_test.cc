// A program that is not the host's service asks a disk's owner record before it writes.
#include "migration/owner_check.h"

#include <gtest/gtest.h>

#include <fstream>

#include "migration/errc.h"
#include "migration/ownership_record.h"
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

}  // namespace
}  // namespace vhdxm::migration
