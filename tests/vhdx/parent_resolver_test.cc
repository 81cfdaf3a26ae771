#include "vhdx/parent_resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vhdxm::vhdx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> paths(const std::string& child,
                               std::vector<std::pair<std::string, std::string>> entries) {
  std::vector<std::string> result;
  for (const ParentCandidate& candidate : parent_candidates(child, {std::move(entries)})) {
    result.push_back((candidate.is_guess ? "guess " : "") + candidate.path);
  }
  return result;
}

std::vector<std::string> relative(const std::string& path) {
  return paths("/d/vm/child.vhdx", {{"relative_path", path}});
}

TEST(ParentResolver, TheRelativePathIsFollowedFromTheChildsFolder) {
  EXPECT_THAT(relative(".\\base.vhdx"), ElementsAre("/d/vm/base.vhdx"));
  EXPECT_THAT(relative("base.vhdx"), ElementsAre("/d/vm/base.vhdx"));
  EXPECT_THAT(relative("..\\lib\\base.vhdx"),
              ElementsAre("/d/vm/../lib/base.vhdx", "guess /d/vm/base.vhdx"));
  EXPECT_THAT(relative("../lib/base.vhdx"),
              ElementsAre("/d/vm/../lib/base.vhdx", "guess /d/vm/base.vhdx"));
  EXPECT_THAT(relative("sub\\\\.\\base.vhdx"),
              ElementsAre("/d/vm/sub/base.vhdx", "guess /d/vm/base.vhdx"));
}

TEST(ParentResolver, TheChildsFolderMayBeTheCurrentOrTheRoot) {
  EXPECT_THAT(paths("child.vhdx", {{"relative_path", "b.vhdx"}}), ElementsAre("./b.vhdx"));
  EXPECT_THAT(paths("/child.vhdx", {{"relative_path", "b.vhdx"}}), ElementsAre("/b.vhdx"));
}

TEST(ParentResolver, AbsolutePathsServeOnlyForTheName) {
  for (const char* path :
       {"C:\\x\\base.vhdx", "\\\\?\\C:\\x\\base.vhdx", "\\\\?\\UNC\\server\\share\\base.vhdx",
        "\\\\?\\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\\x\\base.vhdx", "/etc/base.vhdx"}) {
    EXPECT_THAT(paths("/d/child.vhdx", {{"absolute_win32_path", path}}),
                ElementsAre("guess /d/base.vhdx"))
        << path;
    EXPECT_THAT(paths("/d/child.vhdx", {{"relative_path", path}}),
                ElementsAre("guess /d/base.vhdx"))
        << path;
  }
}

TEST(ParentResolver, TheOrderIsRelativeVolumeAbsolute) {
  EXPECT_THAT(paths("/d/child.vhdx", {{"absolute_win32_path", "C:\\3.vhdx"},
                                      {"volume_path", "\\\\?\\Volume{1}\\2.vhdx"},
                                      {"relative_path", "..\\1.vhdx"}}),
              ElementsAre("/d/../1.vhdx", "guess /d/1.vhdx", "guess /d/2.vhdx", "guess /d/3.vhdx"));
}

TEST(ParentResolver, ClimbingIsAllowedAtTheStartOnlyAndNotForEver) {
  EXPECT_THAT(relative("a\\..\\..\\etc\\x"), ElementsAre("guess /d/vm/x"));
  std::string high;
  for (std::size_t i = 0; i < kParentClimbMax; ++i) high += "..\\";
  EXPECT_EQ(relative(high + "x").size(), 2U);
  EXPECT_THAT(relative(high + "..\\x"), ElementsAre("guess /d/vm/x"));
}

TEST(ParentResolver, WhatIsNoFileNameIsNotFollowed) {
  EXPECT_THAT(relative(""), IsEmpty());
  EXPECT_THAT(relative("."), IsEmpty());
  EXPECT_THAT(relative("..\\.."), IsEmpty());
  EXPECT_THAT(relative("a\nb"), IsEmpty());
  EXPECT_THAT(relative(std::string(256, 'x')), IsEmpty());
}

TEST(ParentResolver, PathsAreDescribedAsTheyStand) {
  EXPECT_EQ(describe_paths({{{"absolute_win32_path", "C:\\b"}, {"relative_path", ".\\b"}}}),
            "relative_path \".\\b\", absolute_win32_path \"C:\\b\"");
  EXPECT_EQ(describe_paths({}), "no path");
}

}  // namespace
}  // namespace vhdxm::vhdx
