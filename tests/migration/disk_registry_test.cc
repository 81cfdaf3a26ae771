#include "migration/disk_registry.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "tests/support/temp_folder.h"

namespace vhdxm::migration {
namespace {

RegisteredDisk disk_named(const std::string& name) {
  return {.name = name, .path = "/srv/" + name + ".vhdx", .read_only = false};
}

void put(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

TEST(DiskRegistry, RemembersWhatWasAddedAndNotRemoved) {
  const test::TempFolder folder;
  {
    const auto registry = DiskRegistry::open(folder.path() + "/a/b").value();
    ASSERT_TRUE(registry->add(disk_named("one")).has_value());
    ASSERT_TRUE(
        registry->add({.name = "two", .path = "/srv/x y\"\\.vhdx", .read_only = true}).has_value());
    ASSERT_TRUE(registry->add(disk_named("three")).has_value());
    ASSERT_TRUE(registry->remove("three").has_value());
  }
  const auto registry = DiskRegistry::open(folder.path() + "/a/b").value();
  const auto all = registry->list();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0], disk_named("one"));
  EXPECT_EQ(all[1].path, "/srv/x y\"\\.vhdx");
  EXPECT_TRUE(all[1].read_only);
  EXPECT_EQ(registry->find("three"), std::nullopt);
  EXPECT_EQ(registry->find_path("/srv/one.vhdx"), disk_named("one"));
}

TEST(DiskRegistry, RefusesANameAndAPathThatAreTaken) {
  const test::TempFolder folder;
  const auto registry = DiskRegistry::open(folder.path()).value();
  ASSERT_TRUE(registry->add(disk_named("one")).has_value());
  EXPECT_EQ(registry->add({.name = "one", .path = "/else"}).error().code.value(), EEXIST);
  EXPECT_EQ(registry->add({.name = "other", .path = "/srv/one.vhdx"}).error().code.value(), EEXIST);
  EXPECT_EQ(registry->remove("other").error().code.value(), ENOENT);
  EXPECT_EQ(registry->list().size(), 1u);
}

TEST(DiskRegistry, RemembersGroups) {
  const test::TempFolder folder;
  {
    const auto registry = DiskRegistry::open(folder.path()).value();
    RegisteredDisk two = disk_named("two");
    two.group = "vm";
    ASSERT_TRUE(registry->add(disk_named("one")).has_value());
    ASSERT_TRUE(registry->add(two).has_value());
    ASSERT_TRUE(registry->add(disk_named("three")).has_value());
    ASSERT_TRUE(registry->set_group("three", "vm").has_value());
    EXPECT_TRUE(registry->set_group("three", "../vm").has_error());
    EXPECT_EQ(registry->set_group("four", "vm").error().code.value(), ENOENT);
    RegisteredDisk bad = disk_named("four");
    bad.group = "a/b";
    EXPECT_TRUE(registry->add(bad).has_error());
  }
  const auto registry = DiskRegistry::open(folder.path()).value();
  EXPECT_TRUE(registry->of_group("").empty());
  const auto vm = registry->of_group("vm");
  ASSERT_EQ(vm.size(), 2u);
  EXPECT_EQ(vm[0].name, "three");
  EXPECT_EQ(vm[1].name, "two");
  EXPECT_EQ(registry->find("one")->group, "");
}

TEST(DiskRegistry, ReadsWhatWasWrittenBeforeThereWereGroups) {
  const std::string old = R"({"version":1,"name":"a","path":"/srv/a.vhdx","read_only":false})";
  EXPECT_EQ(decode_disk(old, "f").value(), (RegisteredDisk{.name = "a", .path = "/srv/a.vhdx"}));
}

TEST(DiskRegistry, KnowsWhatIsAName) {
  for (const char* name : {"a", "0", "web01", "web-01.example_x", "A"}) {
    EXPECT_TRUE(is_disk_name(name)) << name;
  }
  EXPECT_TRUE(is_disk_name(std::string(64, 'a')));
  for (const char* name :
       {"", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "\xc3\xa4", "a%"}) {
    EXPECT_FALSE(is_disk_name(name)) << name;
  }
  EXPECT_FALSE(is_disk_name(std::string(65, 'a')));
  EXPECT_FALSE(is_disk_name(std::string("a\0b", 3)));
}

TEST(DiskRegistry, AFileThatCannotBeReadIsNamedAndNotPassedOver) {
  const std::string good = encode(disk_named("one"));
  EXPECT_EQ(decode_disk(good, "f").value(), disk_named("one"));
  for (const char* bad :
       {"", "{", "[]", "{}", R"({"version":2,"name":"a","path":"/a","read_only":false})",
        R"({"version":1,"name":"a/b","path":"/a","read_only":false})",
        R"({"version":1,"name":"a","path":"a","read_only":false})",
        R"({"version":1,"name":"a","path":"/a","read_only":0})",
        R"({"version":1,"name":"a","path":"/a"})",
        R"({"version":1,"name":"a","path":"/a","read_only":false,"x":1})",
        R"({"version":0,"name":"a","path":"/a","read_only":false})"}) {
    const test::TempFolder folder;
    put(folder.path() + "/a.json", bad);
    const auto registry = DiskRegistry::open(folder.path());
    ASSERT_TRUE(registry.has_error()) << bad;
    EXPECT_NE(describe(registry.error()).find("a.json"), std::string::npos) << bad;
  }
  const test::TempFolder folder;
  put(folder.path() + "/other.json", good);
  EXPECT_TRUE(DiskRegistry::open(folder.path()).has_error());
}

TEST(DiskRegistry, WhatAWriteThatWasCutShortLeftIsNoDisk) {
  const test::TempFolder folder;
  put(folder.path() + "/one.json", encode(disk_named("one")));
  put(folder.path() + "/two.json.new", "{\"vers");
  const auto registry = DiskRegistry::open(folder.path()).value();
  EXPECT_EQ(registry->list().size(), 1u);
  ASSERT_TRUE(registry->add(disk_named("two")).has_value());
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/two.json.new"));
  EXPECT_EQ(DiskRegistry::open(folder.path()).value()->list().size(), 2u);
}

}  // namespace
}  // namespace vhdxm::migration
