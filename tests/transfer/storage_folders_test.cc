#include "transfer/storage_folders.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"

namespace vhdxm::transfer {
namespace {

TEST(StorageFolders, AreFoundByNameAlone) {
  const test::TempFolder usual;
  const test::TempFolder fast;
  const FolderPaths paths{.into = usual.path(), .named = {{"fast", fast.path()}, {"b-2_x", "/"}}};
  const auto folders = StorageFolders::open(paths);
  ASSERT_TRUE(test::succeeded(folders));
  EXPECT_EQ((*folders)->into().path(), usual.path());
  EXPECT_EQ((*folders)->find(""), &(*folders)->into());
  ASSERT_NE((*folders)->find("fast"), nullptr);
  EXPECT_EQ((*folders)->of("fast").path(), fast.path());
  EXPECT_EQ(*paths.find(""), usual.path());
  EXPECT_EQ(*paths.find("fast"), fast.path());
  for (const std::string& name : {std::string("slow"), std::string("Fast"), std::string("fast/"),
                                  fast.path(), std::string("."), std::string("..")}) {
    EXPECT_EQ((*folders)->find(name), nullptr) << name;
    EXPECT_EQ(paths.find(name), nullptr) << name;
  }
  EXPECT_EQ((*folders)->choice(), "there are b-2_x, fast");
  EXPECT_EQ(StorageFolders::open({.into = usual.path()}).value()->choice(),
            "none has a name there");
  EXPECT_DEATH((*folders)->of("slow"), "broken invariant");
}

TEST(StorageFolders, OneThatIsMissingOrCannotBeNamedIsNamed) {
  const test::TempFolder usual;
  const auto missing =
      StorageFolders::open({.into = usual.path(), .named = {{"fast", usual / "no"}}});
  ASSERT_TRUE(missing.has_error());
  EXPECT_EQ(missing.error().subject, usual / "no");
  for (const std::string name : {"", "..", "a/b", "a b", "a.b"}) {
    EXPECT_TRUE(test::failed_with(
        StorageFolders::open({.into = usual.path(), .named = {{name, usual.path()}}}),
        BaseErrc::kInvalidArgument))
        << name;
  }
}

TEST(StorageFolders, OneFolderHasOneNameWhateverPathsLeadToIt) {
  const test::TempFolder usual;
  const test::TempFolder other;
  std::filesystem::create_directory_symlink(usual.path(), other / "link");
  std::filesystem::create_directory(usual / "inside");
  const auto refused = [&](const std::map<std::string, std::string>& named) {
    return test::failed_with(StorageFolders::open({.into = usual.path(), .named = named}),
                             BaseErrc::kInvalidArgument, "the same folder");
  };
  EXPECT_TRUE(refused({{"a", usual.path()}}));
  EXPECT_TRUE(refused({{"a", usual / "inside/.."}}));
  EXPECT_TRUE(refused({{"a", other.path() + "/link"}}));
  EXPECT_TRUE(refused({{"a", other.path()}, {"b", other.path() + "/."}}));
  EXPECT_TRUE(test::succeeded(
      StorageFolders::open({.into = usual.path(), .named = {{"a", usual / "inside"}}})));
}

TEST(StorageFolders, APlaceIsShownWithItsFolder) {
  EXPECT_EQ(text_of_place("", "a.vhdx"), "a.vhdx");
  EXPECT_EQ(text_of_place("fast", "a.vhdx"), "fast/a.vhdx");
}

}  // namespace
}  // namespace vhdxm::transfer
