#include "vhdx/parent_link.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/posix_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/image.h"
#include "vhdx/parent_locator.h"

namespace vhdxm::vhdx {
namespace {

namespace fs = std::filesystem;
using test::failed_with;
using test::succeeded;
using test::TempFolder;

constexpr Guid kParent = guid_literal("83ed0ec3-24c8-49a6-a959-5e4bf1288bfb");

class ParentLink : public testing::Test {
 protected:
  std::string touch(const std::string& name) {
    const std::string path = folder_ / name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path) << "x";
    return path;
  }

  std::string relative_path(const std::string& parent, const std::string& child) {
    fs::create_directories(fs::path(folder_ / child).parent_path());
    const auto locator = make_parent_locator(folder_ / parent, folder_ / child, kParent);
    if (locator.has_error()) {
      ADD_FAILURE() << describe(locator.error());
      return {};
    }
    EXPECT_EQ(locator->entries.size(), 2U);
    EXPECT_EQ(*locator->find(kParentLinkageKey), "{83ed0ec3-24c8-49a6-a959-5e4bf1288bfb}");
    EXPECT_EQ(locator->linkage(), kParent);
    return *locator->find(kRelativePathKey);
  }

  TempFolder folder_;
};

TEST_F(ParentLink, PathsAreRelativeToTheChildsFolder) {
  touch("base.vhdx");
  touch("path2/sub3/parent.vhdx");
  EXPECT_EQ(relative_path("base.vhdx", "child.vhdx"), ".\\base.vhdx");
  EXPECT_EQ(relative_path("base.vhdx", "path1/child.vhdx"), "..\\base.vhdx");
  EXPECT_EQ(relative_path("path2/sub3/parent.vhdx", "path1/sub2/file.vhdx"),
            "..\\..\\path2\\sub3\\parent.vhdx");
  EXPECT_EQ(relative_path("path2/sub3/parent.vhdx", "child.vhdx"), ".\\path2\\sub3\\parent.vhdx");
  EXPECT_EQ(relative_path("path2/../base.vhdx", "path1/./child.vhdx"), "..\\base.vhdx");
}

TEST_F(ParentLink, LinksAreResolved) {
  touch("real/base.vhdx");
  fs::create_symlink(folder_ / "real/base.vhdx", folder_ / "alias.vhdx");
  fs::create_directory_symlink(folder_ / "real", folder_ / "other");
  EXPECT_EQ(relative_path("alias.vhdx", "child.vhdx"), ".\\real\\base.vhdx");
  EXPECT_EQ(relative_path("real/base.vhdx", "other/child.vhdx"), ".\\base.vhdx");
}

TEST_F(ParentLink, WhatCannotBeSaidIsRefused) {
  const std::string good = touch("base.vhdx");
  const std::string child = folder_ / "child.vhdx";
  EXPECT_TRUE(failed_with(make_parent_locator(touch("a\\b.vhdx"), child, kParent),
                          BaseErrc::kInvalidArgument, "backslashes"));
  EXPECT_TRUE(failed_with(make_parent_locator(good, child, Guid{}), BaseErrc::kInvalidArgument,
                          "DataWriteGuid is zero"));
  EXPECT_TRUE(make_parent_locator(folder_ / "none.vhdx", child, kParent).has_error());
  EXPECT_TRUE(make_parent_locator(good, folder_ / "none/child.vhdx", kParent).has_error());
}

TEST_F(ParentLink, ChildThatIsMadeSoOpensWithItsParent) {
  const auto make = [&](const std::string& name, DiskType type, const std::string& parent) {
    const std::string path = touch(name);
    auto file = PosixFile::open(path, {.access = PosixFile::Access::kReadWrite});
    ASSERT_TRUE(succeeded(file));
    ASSERT_TRUE(succeeded((*file)->resize(0)));
    Description description;
    description.geometry = {.virtual_size_bytes = 4 * kMiB, .block_bytes = 1 << 20, .type = type};
    if (!parent.empty()) {
      const auto opened = Image::open(parent, {.leaf_only = true});
      ASSERT_TRUE(succeeded(opened));
      const auto locator = make_parent_locator(
          parent, path, (*opened)->layers().front()->description().data_write_guid);
      ASSERT_TRUE(succeeded(locator));
      description.parent = *locator;
    }
    ASSERT_TRUE(succeeded(create(std::move(*file), description)));
  };
  make("base/b\xc3\xa4se.vhdx", DiskType::kDynamic, "");
  make("middle/middle.vhdx", DiskType::kDifferencing, folder_ / "base/b\xc3\xa4se.vhdx");
  make("leaf.vhdx", DiskType::kDifferencing, folder_ / "middle/middle.vhdx");
  const auto image = Image::open(folder_ / "leaf.vhdx");
  ASSERT_TRUE(succeeded(image));
  EXPECT_EQ((*image)->layers().size(), 3U);
}

TEST(DescribeChild, TakesTheItemsOfTheVirtualDiskAlong) {
  const OpaqueItem of_disk{
      .item_id = Guid::random(), .flags = kMetadataIsVirtualDisk, .content = {std::byte{1}}};
  const OpaqueItem of_file{.item_id = Guid::random(), .flags = kMetadataIsUser, .content = {}};
  Description parent;
  parent.geometry = {.virtual_size_bytes = kMiB, .block_bytes = 1 << 20, .type = DiskType::kFixed};
  parent.virtual_disk_id = Guid::random();
  parent.data_write_guid = Guid::random();
  parent.opaque_items = {of_file, of_disk};
  const ParentLocator locator{{{"parent_linkage", "x"}}};
  const Description child = describe_child(parent, locator);
  EXPECT_EQ(child.geometry.type, DiskType::kDifferencing);
  EXPECT_EQ(child.geometry.virtual_size_bytes, kMiB);
  EXPECT_EQ(child.virtual_disk_id, parent.virtual_disk_id);
  EXPECT_NE(child.data_write_guid, parent.data_write_guid);
  EXPECT_EQ(child.parent, locator);
  EXPECT_EQ(child.opaque_items, std::vector{of_disk});
}

TEST(LocatorBeside, KeepsLinkageAndDropsOtherPaths) {
  const ParentLocator windows{{{"absolute_win32_path", "D:\\vm\\parent.vhdx"},
                               {"parent_linkage", "{83ED0EC3-24C8-49A6-A959-5E4BF1288BFB}"},
                               {"relative_path", "..\\x\\parent.vhdx"},
                               {"parent_linkage2", "{00000000-0000-0000-0000-000000000000}"},
                               {"volume_path", "\\\\?\\Volume{1}\\parent.vhdx"},
                               {"of_the_future", "7"}}};
  const auto beside = locator_beside(windows, "parent.vhdx");
  ASSERT_TRUE(succeeded(beside));
  const ParentLocator expected{{{"parent_linkage", "{83ED0EC3-24C8-49A6-A959-5E4BF1288BFB}"},
                                {"parent_linkage2", "{00000000-0000-0000-0000-000000000000}"},
                                {"of_the_future", "7"},
                                {"relative_path", ".\\parent.vhdx"}}};
  EXPECT_EQ(*beside, expected);
}

TEST(LocatorBeside, RefusesNamesThatLeadElsewhere) {
  const ParentLocator locator{{{"parent_linkage", "{83ed0ec3-24c8-49a6-a959-5e4bf1288bfb}"}}};
  for (const char* name : {"", ".", "..", "a/b", "a\\b", "..\\x"}) {
    EXPECT_TRUE(failed_with(locator_beside(locator, name), BaseErrc::kInvalidArgument)) << name;
  }
  EXPECT_TRUE(
      failed_with(locator_beside(locator, std::string("a\0b", 3)), BaseErrc::kInvalidArgument));
}

TEST(ParentNameOf, IsTheLastPartOfTheFirstPath) {
  EXPECT_EQ(parent_name_of({{{"absolute_win32_path", "C:\\a\\b.vhdx"}}}), "b.vhdx");
  EXPECT_EQ(
      parent_name_of({{{"absolute_win32_path", "C:\\a\\b.vhdx"}, {"relative_path", ".\\c.vhdx"}}}),
      "c.vhdx");
  EXPECT_EQ(parent_name_of({{{"relative_path", "c.vhdx"}}}), "c.vhdx");
  EXPECT_EQ(parent_name_of({{{"parent_linkage", "x"}}}), "");
}

}  // namespace
}  // namespace vhdxm::vhdx
