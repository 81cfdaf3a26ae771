// The manual page tells of every command and every option, and of nothing else.
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <string>

#include "tests/tools/sparse_content.h"
#include "tests/tools/tool_process.h"

namespace vhdxm::test {
namespace {

std::set<std::string> options_in(const std::string& text) {
  static const std::regex option("--[a-z]+(-[a-z]+)*");
  std::set<std::string> all;
  for (auto at = std::sregex_iterator(text.begin(), text.end(), option);
       at != std::sregex_iterator(); ++at) {
    all.insert(at->str());
  }
  return all;
}

TEST(Manual, HasTheOptionsOfTheHelpAndNoOthers) {
  std::string page = content_of_file(VHDXM_SOURCE_FOLDER "/docs/man/vhdx-migrate.1");
  ASSERT_NE(page, "");
  page = std::regex_replace(page, std::regex("\\\\-"), "-");
  std::string help = run_tool({"--help"}).out;
  for (const char* command :
       {"info",  "map",   "check",   "create", "compare", "export", "import", "receive",
        "send",  "serve", "cleanup", "advise", "disk",    "move",   "list",   "status",
        "watch", "pause", "resume",  "cancel", "cutover", "set",    "resolve"}) {
    help += run_tool({command, "--help"}).out;
    EXPECT_NE(page.find("\n.SS " + std::string(command)), std::string::npos) << command;
  }
  std::set<std::string> told = options_in(page);
  std::set<std::string> real = options_in(help);
  real.erase("--some-option");
  told.erase("--some-option");
  EXPECT_EQ(told, real);
}

TEST(Manual, HasTheExitCodes) {
  const std::string page = content_of_file(VHDXM_SOURCE_FOLDER "/docs/man/vhdx-migrate.1");
  for (const char* code : {"0", "1", "2", "3", "4", "5", "6", "7", "8", "130"}) {
    EXPECT_NE(page.find("\n.B " + std::string(code) + "\n"), std::string::npos) << code;
  }
}

}  // namespace
}  // namespace vhdxm::test
