#include "tools/file_owner.h"

#include <gtest/gtest.h>

namespace vhdxm::tools {
namespace {

TEST(FileOwner, TakesNamesAndNumbers) {
  EXPECT_EQ(*parse_owner("root"), (FileOwner{.uid = 0, .gid = std::nullopt}));
  EXPECT_EQ(*parse_owner("root:root"), (FileOwner{.uid = 0, .gid = 0}));
  EXPECT_EQ(*parse_owner("107:36"), (FileOwner{.uid = 107, .gid = 36}));
  EXPECT_EQ(*parse_owner(":36"), (FileOwner{.uid = std::nullopt, .gid = 36}));
}

TEST(FileOwner, RefusesWhomTheHostDoesNotKnow) {
  for (const char* text : {"", ":", "no-such-user", "0:no-such-group", "-1", "4294967295"}) {
    const auto owner = parse_owner(text);
    ASSERT_TRUE(owner.has_error()) << text;
    EXPECT_EQ(owner.error().exit, ExitCode::kUsage);
  }
}

TEST(FileMode, IsOctal) {
  EXPECT_EQ(*parse_file_mode("0640"), 0640U);
  EXPECT_EQ(*parse_file_mode("600"), 0600U);
  for (const char* text : {"", "0888", "1777", "rw", "-1"}) {
    EXPECT_TRUE(parse_file_mode(text).has_error()) << text;
  }
}

}  // namespace
}  // namespace vhdxm::tools
