#include "base/directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_folder.h"

namespace vhdxm {
namespace {

class DirectoryTest : public testing::Test {
 protected:
  void make(const std::string& name, const std::string& text = "text") {
    std::ofstream(folder_ / name) << text;
  }
  std::string content(const std::string& name) {
    std::ifstream in(folder_ / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  test::TempFolder folder_;
  std::unique_ptr<Directory> directory_ = Directory::open(folder_.path()).value();
};

TEST_F(DirectoryTest, OpenWantsAFolderThatExists) {
  make("file");
  EXPECT_EQ(Directory::open(folder_ / "none").error().code,
            boost::system::errc::no_such_file_or_directory);
  EXPECT_EQ(Directory::open(folder_ / "file").error().code, boost::system::errc::not_a_directory);
  EXPECT_EQ(Directory::open(folder_ / "none").error().subject, folder_ / "none");
}

TEST_F(DirectoryTest, PlainNames) {
  for (const std::string name :
       {"a", "disk.vhdx", ".hidden", "..a", "a b", "\xc3\xa4.vhdx", "-x", "a\\b"}) {
    EXPECT_TRUE(Directory::is_plain_name(name)) << name;
  }
  EXPECT_TRUE(Directory::is_plain_name(std::string(255, 'a')));
  for (const std::string name :
       {"", ".", "..", "/", "a/b", "../a", "/etc/passwd", "a\n", "a\x7f", "\x1b[2J"}) {
    EXPECT_FALSE(Directory::is_plain_name(name)) << name;
  }
  EXPECT_FALSE(Directory::is_plain_name(std::string(256, 'a')));
  EXPECT_FALSE(Directory::is_plain_name(std::string_view("a\0b", 3)));
}

TEST_F(DirectoryTest, CreatedFilesAreTheOwnersAlone) {
  auto file = directory_->create_file("new", true).value();
  struct stat status {};
  ASSERT_EQ(::stat((folder_ / "new").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  const std::vector<std::byte> bytes(3, std::byte{'x'});
  EXPECT_FALSE(file->write_at(0, bytes).has_error());
  EXPECT_EQ(content("new"), "xxx");
}

TEST_F(DirectoryTest, CreateRefusesWhatExists) {
  make("there");
  EXPECT_EQ(directory_->create_file("there", false).error().code, boost::system::errc::file_exists);
  EXPECT_EQ(content("there"), "text");
  // A dangling link is a name that exists too: nothing is made where it points.
  std::filesystem::create_symlink(folder_ / "target", folder_ / "link");
  EXPECT_TRUE(directory_->create_file("link", false).has_error());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "target"));
}

TEST_F(DirectoryTest, OpensRegularFilesOnly) {
  make("file");
  std::filesystem::create_symlink("file", folder_ / "link");
  std::filesystem::create_directory(folder_ / "folder");
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(directory_->open_file("file", {}).has_value());
  EXPECT_EQ(directory_->open_file("link", {}).error().code,
            boost::system::errc::too_many_symbolic_link_levels);
  EXPECT_EQ(directory_->open_file("folder", {}).error().code, BaseErrc::kInvalidArgument);
  EXPECT_EQ(directory_->open_file("pipe", {}).error().code, BaseErrc::kInvalidArgument);
  EXPECT_EQ(directory_->open_file("none", {}).error().code,
            boost::system::errc::no_such_file_or_directory);
}

TEST_F(DirectoryTest, NamesCannotReachOutside) {
  std::filesystem::create_directory(folder_ / "inner");
  make("outside");
  auto inner = Directory::open(folder_ / "inner").value();
  ASSERT_TRUE(inner->create_file("x", false).has_value());
  // Every name stays in this test's folder: a Directory that follows one must do no harm.
  for (const std::string& name :
       {std::string("../outside"), std::string(".."), std::string("."), std::string(),
        folder_ / "outside", std::string("a/../../outside")}) {
    EXPECT_EQ(inner->open_file(name, {}).error().code, BaseErrc::kInvalidArgument) << name;
    EXPECT_EQ(inner->create_file(name, false).error().code, BaseErrc::kInvalidArgument) << name;
    EXPECT_EQ(inner->exists(name).error().code, BaseErrc::kInvalidArgument) << name;
    EXPECT_EQ(inner->rename_no_replace(name, "y").error().code, BaseErrc::kInvalidArgument) << name;
    EXPECT_EQ(inner->rename_no_replace("x", name).error().code, BaseErrc::kInvalidArgument) << name;
    EXPECT_EQ(inner->rename_replacing(name, "y").error().code, BaseErrc::kInvalidArgument) << name;
    EXPECT_EQ(inner->rename_replacing("x", name).error().code, BaseErrc::kInvalidArgument) << name;
    EXPECT_EQ(inner->remove(name).error().code, BaseErrc::kInvalidArgument) << name;
  }
  EXPECT_EQ(content("outside"), "text");
  EXPECT_TRUE(inner->exists("x").value());
}

TEST_F(DirectoryTest, RenameNeverReplaces) {
  make("a", "A");
  make("b", "B");
  EXPECT_EQ(directory_->rename_no_replace("a", "b").error().code, boost::system::errc::file_exists);
  EXPECT_EQ(content("a"), "A");
  EXPECT_EQ(content("b"), "B");
  ASSERT_FALSE(directory_->rename_no_replace("a", "c").has_error());
  EXPECT_EQ(content("c"), "A");
  EXPECT_FALSE(directory_->exists("a").value());
  EXPECT_EQ(directory_->rename_no_replace("gone", "d").error().code,
            boost::system::errc::no_such_file_or_directory);
}

TEST_F(DirectoryTest, RenameReplacingTakesTheOthersPlace) {
  make("a", "A");
  make("b", "B");
  auto old = directory_->open_file("b", {}).value();
  ASSERT_FALSE(directory_->rename_replacing("a", "b").has_error());
  EXPECT_EQ(content("b"), "A");
  EXPECT_FALSE(directory_->exists("a").value());
  EXPECT_FALSE(old->has_name().value()) << "it was replaced, not written over";
  ASSERT_FALSE(directory_->rename_replacing("b", "c").has_error()) << "nothing is in the way";
  EXPECT_EQ(content("c"), "A");
  EXPECT_EQ(directory_->rename_replacing("gone", "c").error().code,
            boost::system::errc::no_such_file_or_directory);
  EXPECT_EQ(content("c"), "A");
}

TEST_F(DirectoryTest, RenameReplacingTakesLinksForThemselves) {
  make("target", "T");
  make("a", "A");
  std::filesystem::create_symlink("target", folder_ / "link");
  ASSERT_FALSE(directory_->rename_replacing("a", "link").has_error());
  EXPECT_EQ(content("target"), "T");
  EXPECT_FALSE(std::filesystem::is_symlink(folder_ / "link"));
}

TEST_F(DirectoryTest, RemovingWhatIsNotThereIsNoError) {
  make("a");
  EXPECT_FALSE(directory_->remove("a").has_error());
  EXPECT_FALSE(directory_->remove("a").has_error());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a"));
}

TEST_F(DirectoryTest, RemoveTakesTheLinkNotItsTarget) {
  make("target");
  std::filesystem::create_symlink("target", folder_ / "link");
  EXPECT_FALSE(directory_->remove("link").has_error());
  EXPECT_EQ(content("target"), "text");
}

TEST_F(DirectoryTest, ExistsSeesDanglingLinks) {
  EXPECT_FALSE(directory_->exists("a").value());
  std::filesystem::create_symlink("nowhere", folder_ / "a");
  EXPECT_TRUE(directory_->exists("a").value());
}

TEST_F(DirectoryTest, ListsNamesInOrderEachTime) {
  make("b");
  make("a");
  std::filesystem::create_directory(folder_ / "c");
  const std::vector<std::string> expected = {"a", "b", "c"};
  EXPECT_EQ(directory_->list().value(), expected);
  EXPECT_EQ(directory_->list().value(), expected);
}

TEST_F(DirectoryTest, StaysWithTheFolderWhenItIsRenamed) {
  std::filesystem::create_directory(folder_ / "one");
  auto one = Directory::open(folder_ / "one").value();
  std::filesystem::rename(folder_ / "one", folder_ / "two");
  ASSERT_TRUE(one->create_file("f", false).has_value());
  EXPECT_TRUE(std::filesystem::exists(folder_ / "two/f"));
}

TEST_F(DirectoryTest, MakesAFolderOnceAndFollowsNoLink) {
  ASSERT_TRUE(directory_->open_or_make_folder("sub").has_value());
  const auto sub = directory_->open_or_make_folder("sub");
  ASSERT_TRUE(sub.has_value());
  ASSERT_TRUE((*sub)->create_file("f", false).has_value());
  EXPECT_TRUE(std::filesystem::exists(folder_ / "sub/f"));
  EXPECT_EQ(std::filesystem::status(folder_ / "sub").permissions(),
            std::filesystem::perms::owner_all);
  std::filesystem::create_symlink("sub", folder_ / "link");
  EXPECT_TRUE(directory_->open_or_make_folder("link").has_error());
  EXPECT_TRUE(directory_->open_or_make_folder("../up").has_error());
}

TEST_F(DirectoryTest, SyncsAndKnowsItsFreeRoom) {
  EXPECT_FALSE(directory_->sync().has_error());
  EXPECT_GT(directory_->free_bytes().value(), 0U);
  const auto sub = directory_->open_or_make_folder("sub").value();
  EXPECT_EQ(sub->file_system().value(), directory_->file_system().value());
  const auto proc = Directory::open("/proc").value();
  EXPECT_NE(proc->file_system().value(), directory_->file_system().value());
  EXPECT_EQ(directory_->path_of("x"), folder_ / "x");
}

}  // namespace
}  // namespace vhdxm
