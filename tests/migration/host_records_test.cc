// The records of ownership in a host's state folder, as several processes share them.
#include "migration/host_records.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "migration/errc.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"

namespace vhdxm::migration {
namespace {

using test::succeeded;

TEST(HostRecords, AHostIsTheSameForAllItsProcesses) {
  const test::TempFolder folder;
  const auto one = HostRecords::open(folder / "state", {});
  ASSERT_TRUE(succeeded(one));
  const auto two = HostRecords::open(folder / "state", {});
  ASSERT_TRUE(succeeded(two));
  EXPECT_FALSE((*one)->ownership().id.is_zero());
  EXPECT_EQ((*one)->ownership().id, (*two)->ownership().id);
  const auto other = HostRecords::open(folder / "other", {});
  EXPECT_NE((*one)->ownership().id, (*other)->ownership().id);
}

TEST(HostRecords, WhoThisHostIsIsNeverMadeUpAnew) {
  const test::TempFolder folder;
  ASSERT_TRUE(succeeded(HostRecords::open(folder.path(), {})));
  for (const std::string& text : {std::string(), std::string("short"), std::string(16, '\0')}) {
    std::ofstream(folder / "handover/host", std::ios::binary) << text;
    EXPECT_TRUE(test::failed_with(HostRecords::open(folder.path(), {}), Errc::kRecord));
  }
}

TEST(HostRecords, OneProcessAtATimeHasThem) {
  const test::TempFolder folder;
  const auto mine = HostRecords::open(folder.path(), {});
  ASSERT_TRUE(succeeded(mine));
  OwnershipMutex& mutex = (*mine)->ownership().mutex;
  const std::string shared = folder / "number";
  // Two processes count in one file: without the lock, counts would be lost.
  constexpr int kTimes = 200;
  const auto count = [&](OwnershipMutex& lock_of_all) {
    for (int i = 0; i < kTimes; ++i) {
      const std::lock_guard lock(lock_of_all);
      int number = 0;
      std::ifstream(shared) >> number;
      std::ofstream(shared) << number + 1;
    }
  };
  const pid_t child = ::fork();
  if (child == 0) {
    const auto theirs = HostRecords::open(folder.path(), {});
    if (theirs.has_error()) ::_exit(1);
    count((*theirs)->ownership().mutex);
    ::_exit(0);
  }
  count(mutex);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  int number = 0;
  std::ifstream(shared) >> number;
  EXPECT_EQ(number, 2 * kTimes);
}

}  // namespace
}  // namespace vhdxm::migration
