// check --repair, --undo and --discard-backup, on files.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_folder.h"
#include "tests/tools/sparse_content.h"
#include "tests/tools/tool_process.h"

namespace vhdxm::test {
namespace {

class CliRepair : public testing::Test {
 protected:
  CliRepair() {
    make_raw(folder_ / "a.raw", 9 * kMiB, {{0, 4096}, {5 * kMiB, kMiB}});
    EXPECT_EQ(run_tool({"import", folder_ / "a.raw", disk_, "--block-size", "1M"}).exit, 0);
  }

  void overwrite(std::uint64_t offset, const std::string& bytes) {
    std::fstream file(disk_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }
  void damage_header_and_length() {
    overwrite(64 << 10, std::string(512, 'x'));
    overwrite(std::filesystem::file_size(disk_) + kMiB, "left over");
  }
  Ended compare() { return run_tool({"compare", disk_, folder_ / "a.raw"}); }

  TempFolder folder_;
  const std::string disk_ = folder_ / "a.vhdx";
  const std::string backup_ = disk_ + ".repair-backup";
};

TEST_F(CliRepair, MendsSaysSoAndKeepsTheWayBack) {
  damage_header_and_length();
  const std::string before = content_of_file(disk_);
  const Ended repaired = run_tool({"check", "--repair", disk_});
  EXPECT_EQ(repaired.exit, 0) << repaired.err;
  EXPECT_NE(repaired.out.find("mended: header 1 was not valid"), std::string::npos);
  EXPECT_NE(repaired.out.find("at the end, which no object had, were cut off"), std::string::npos);
  EXPECT_NE(repaired.out.find("is sound: 0 corruptions, 0 warnings"), std::string::npos);
  EXPECT_NE(repaired.err.find(backup_), std::string::npos);
  EXPECT_EQ(compare().exit, 0);
  EXPECT_TRUE(std::filesystem::exists(backup_));
  EXPECT_FALSE(std::filesystem::exists(backup_ + ".partial"));

  const Ended undone = run_tool({"check", "--repair", "--undo", disk_});
  EXPECT_EQ(undone.exit, 0) << undone.err;
  EXPECT_EQ(content_of_file(disk_), before);
  EXPECT_FALSE(std::filesystem::exists(backup_));
}

TEST_F(CliRepair, SpeaksJson) {
  damage_header_and_length();
  const Ended repaired = run_tool({"check", "--repair", disk_, "--json"});
  EXPECT_EQ(repaired.exit, 0) << repaired.err;
  const auto mend = repaired.object("mend");
  EXPECT_EQ(mend.at("rule").as_string(), "[MS-VHDX] 2.2.2");
  EXPECT_EQ(mend.at("offset").as_int64(), 64 << 10);
  const auto done = repaired.object("done");
  EXPECT_EQ(done.at("action").as_string(), "repair");
  EXPECT_EQ(done.at("backup").as_string(), backup_);
  EXPECT_FALSE(repaired.object("check").at("corrupt").as_bool());
}

TEST_F(CliRepair, LeavesASoundDiskAlone) {
  const std::string before = content_of_file(disk_);
  const Ended repaired = run_tool({"check", "--repair", disk_});
  EXPECT_EQ(repaired.exit, 0) << repaired.err;
  EXPECT_NE(repaired.out.find("nothing to mend"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(backup_));
  EXPECT_EQ(content_of_file(disk_), before);
}

TEST_F(CliRepair, LeavesAloneWhatItCannotMend) {
  overwrite(64 << 10, std::string(512, 'x'));
  overwrite(192 << 10, std::string(512, 'x'));
  overwrite(256 << 10, std::string(512, 'x'));
  const std::string before = content_of_file(disk_);
  const Ended repaired = run_tool({"check", "--repair", disk_});
  EXPECT_EQ(repaired.exit, 6);
  EXPECT_NE(repaired.err.find("not repaired, and not changed"), std::string::npos) << repaired.err;
  EXPECT_FALSE(std::filesystem::exists(backup_));
  EXPECT_EQ(content_of_file(disk_), before);
}

TEST_F(CliRepair, ABackupIsNeverOverwritten) {
  damage_header_and_length();
  ASSERT_EQ(run_tool({"check", "--repair", disk_}).exit, 0);
  overwrite(128 << 10, std::string(512, 'y'));
  const std::string backup = content_of_file(backup_);
  const Ended refused = run_tool({"check", "--repair", disk_});
  EXPECT_EQ(refused.exit, 1);
  EXPECT_NE(refused.err.find("--discard-backup"), std::string::npos) << refused.err;
  EXPECT_EQ(content_of_file(backup_), backup);

  EXPECT_EQ(run_tool({"check", "--repair", "--discard-backup", disk_}).exit, 0);
  EXPECT_TRUE(std::filesystem::exists(backup_));  // of the second repair
  EXPECT_EQ(run_tool({"check", "--discard-backup", disk_}).exit, 0);
  EXPECT_FALSE(std::filesystem::exists(backup_));
  EXPECT_EQ(compare().exit, 0);
  EXPECT_EQ(run_tool({"check", "--repair", "--undo", disk_}).exit, 1);
}

TEST_F(CliRepair, ADiskWrittenSinceIsNotUndone) {
  if (!has_program("qemu-io")) GTEST_SKIP() << "qemu-io is not installed";
  damage_header_and_length();
  ASSERT_EQ(run_tool({"check", "--repair", disk_}).exit, 0);
  ASSERT_EQ(run_program({"qemu-io", "-f", "vhdx", "-c", "write 0 64k", disk_}).exit, 0);
  const std::string written = content_of_file(disk_);
  const Ended refused = run_tool({"check", "--repair", "--undo", disk_});
  EXPECT_EQ(refused.exit, 1) << refused.err;
  EXPECT_NE(refused.err.find("written since"), std::string::npos) << refused.err;
  EXPECT_EQ(content_of_file(disk_), written);
  EXPECT_TRUE(std::filesystem::exists(backup_));
}

TEST_F(CliRepair, ADiskInUseIsRefused) {
  damage_header_and_length();
  const int fd = ::open(disk_.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::flock(fd, LOCK_EX | LOCK_NB), 0);
  const std::string before = content_of_file(disk_);
  const Ended locked = run_tool({"check", "--repair", disk_});
  EXPECT_EQ(locked.exit, 1);
  EXPECT_NE(locked.err.find("a.vhdx: in use: another program has locked it"), std::string::npos)
      << locked.err;
  ::flock(fd, LOCK_UN);
  // QEMU says what it does with locks on bytes: 101 is "writes".
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = 101;
  lock.l_len = 1;
  ASSERT_EQ(::fcntl(fd, F_OFD_SETLK, &lock), 0);
  const Ended by_qemu = run_tool({"check", "--repair", disk_});
  EXPECT_EQ(by_qemu.exit, 1);
  EXPECT_NE(by_qemu.err.find("in use: QEMU, or a program"), std::string::npos) << by_qemu.err;
  ::close(fd);
  EXPECT_EQ(content_of_file(disk_), before);
  EXPECT_EQ(run_tool({"check", "--repair", disk_}).exit, 0);
}

TEST_F(CliRepair, KeepsTheBackupWhereTheFileReallyIs) {
  damage_header_and_length();
  std::filesystem::create_directory(folder_ / "links");
  std::filesystem::create_symlink(disk_, folder_ / "links/b.vhdx");
  EXPECT_EQ(run_tool({"check", "--repair", folder_ / "links/b.vhdx"}).exit, 0);
  EXPECT_TRUE(std::filesystem::exists(backup_));
  EXPECT_EQ(run_tool({"check", "--repair", "--undo", disk_}).exit, 0);
}

TEST_F(CliRepair, UndoNeedsRepair) {
  EXPECT_EQ(run_tool({"check", "--undo", disk_}).exit, 2);
  EXPECT_EQ(run_tool({"check", "--repair", "--undo", "--discard-backup", disk_}).exit, 2);
}

TEST_F(CliRepair, QemuTakesWhatWasRepaired) {
  if (!has_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
  overwrite(192 << 10, std::string(512, 'x'));  // QEMU reads only this region table
  EXPECT_NE(run_program({"qemu-img", "check", "-f", "vhdx", disk_}).exit, 0);
  EXPECT_EQ(run_tool({"check", "--repair", disk_}).exit, 0);
  EXPECT_EQ(run_program({"qemu-img", "check", "-f", "vhdx", disk_}).exit, 0);
  EXPECT_EQ(
      run_program({"qemu-img", "compare", "-f", "vhdx", "-F", "raw", disk_, folder_ / "a.raw"})
          .exit,
      0);
}

}  // namespace
}  // namespace vhdxm::test
