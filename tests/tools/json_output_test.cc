#include "tools/json_output.h"

#include <gtest/gtest.h>

#include "tests/tools/string_console.h"

namespace vhdxm::tools {
namespace {

TEST(JsonOutput, ALineBeginsWithSchemaTypeAndTime) {
  const boost::json::object fields = {{"start", 0}, {"length", 4096}};
  EXPECT_EQ(json_line("extent", test::StringConsole::kNow, fields),
            "{\"schema\":1,\"type\":\"extent\",\"time\":\"2026-11-23T22:51:23.042Z\","
            "\"start\":0,\"length\":4096}\n");
}

TEST(JsonOutput, LargeSizesStayWholeNumbers) {
  const boost::json::object fields = {{"bytes", std::uint64_t{1} << 63}};
  EXPECT_NE(json_line("x", {}, fields).find("\"bytes\":9223372036854775808}"), std::string::npos);
}

TEST(JsonOutput, TextOfAFileBecomesValid) {
  EXPECT_EQ(json_text("a\xff"
                      "b")
                .as_string(),
            "a\xef\xbf\xbd"
            "b");
  const boost::json::object fields = {{"name", json_text("line\nbreak \"quoted\"")}};
  EXPECT_NE(json_line("x", {}, fields).find("\"line\\nbreak \\\"quoted\\\"\""), std::string::npos);
}

TEST(JsonOutput, TimesAreInUtcWithMilliseconds) {
  EXPECT_EQ(rfc3339(std::chrono::system_clock::time_point{}), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(rfc3339(std::chrono::system_clock::time_point{std::chrono::milliseconds{-1}}),
            "1969-12-31T23:59:59.999Z");
}

}  // namespace
}  // namespace vhdxm::tools
