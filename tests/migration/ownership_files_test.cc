// DirectoryFiles, in a real folder.
#include "migration/ownership_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "migration/errc.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"

namespace vhdxm::migration {
namespace {

using test::failed_with;
using test::succeeded;

class OwnershipFilesTest : public testing::Test {
 protected:
  mode_t mode_of(const std::string& name) {
    struct stat status {};
    EXPECT_EQ(::stat((folder_ / name).c_str(), &status), 0);
    return status.st_mode & 0777U;
  }

  test::TempFolder folder_;
  DirectoryFiles files_{Directory::open(folder_.path()).value()};
  const std::vector<std::byte> bytes_ = std::vector<std::byte>(5, std::byte{'x'});
};

TEST_F(OwnershipFilesTest, WhatIsWrittenIsRead) {
  ASSERT_TRUE(succeeded(files_.write("a", bytes_)));
  ASSERT_TRUE(succeeded(files_.write("a", std::span(bytes_).first(3))));
  const auto read = files_.read("a", 3);
  ASSERT_TRUE(succeeded(read));
  EXPECT_EQ(read->value().size(), 3U);
  EXPECT_TRUE(succeeded(files_.sync()));
}

TEST_F(OwnershipFilesTest, WhatIsNotThereIsNothing) {
  const auto read = files_.read("none", 10);
  ASSERT_TRUE(succeeded(read));
  EXPECT_FALSE(read->has_value());
}

TEST_F(OwnershipFilesTest, WhatIsTooLongIsRefused) {
  ASSERT_TRUE(succeeded(files_.write("a", bytes_)));
  EXPECT_TRUE(failed_with(files_.read("a", 4), Errc::kRecord, "length"));
}

TEST_F(OwnershipFilesTest, AReleasedCopyGetsNoNewReaders) {
  std::ofstream(folder_ / "disk") << "d";
  std::filesystem::permissions(folder_ / "disk", std::filesystem::perms(0640));
  ASSERT_TRUE(succeeded(files_.set_read_only("disk", true)));
  EXPECT_EQ(mode_of("disk"), 0440U);
  ASSERT_TRUE(succeeded(files_.set_read_only("disk", false)));
  EXPECT_EQ(mode_of("disk"), 0640U);
}

TEST_F(OwnershipFilesTest, FoldersAreOpenedOnce) {
  DirectoryFolders folders({});
  const auto first = folders.folder(folder_.path());
  ASSERT_TRUE(succeeded(first));
  EXPECT_EQ(*first, folders.folder(folder_.path()).value());
  EXPECT_EQ(folders.paths(), std::vector<std::string>{folder_.path()});
  EXPECT_TRUE(folders.folder(folder_ / "none").has_error());
  EXPECT_EQ(folders.paths().size(), 1U);
}

}  // namespace
}  // namespace vhdxm::migration
