#include "tools/console.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/tools/string_console.h"

namespace vhdxm::tools {
namespace {

using test::StringConsole;

TEST(Console, ResultsGoToStdoutAndTalkToStderr) {
  StringConsole words;
  words.console.print("result\n");
  words.console.talk("talk");
  EXPECT_EQ(words.take_out(), "result\n");
  EXPECT_EQ(words.take_err(), "talk\n");
}

TEST(Console, TalkComesAfterTheResultsBeforeIt) {
  StringConsole words;
  words.console.print("result\n");
  EXPECT_EQ(words.out, "");
  words.console.talk("talk");
  EXPECT_EQ(words.out, "result\n");
}

TEST(Console, ResultsGoToStderrWhereStdoutCarriesADisk) {
  StringConsole words({.json = true});
  words.console.give_stdout_to_data();
  words.console.object("done", {});
  EXPECT_EQ(words.take_out(), "");
  EXPECT_NE(words.take_err().find("\"type\":\"done\""), std::string::npos);
}

TEST(Console, TheStatusLineIsDrawnOverAndStaysAtTheBottom) {
  StringConsole words({.redraw = true});
  words.console.show_status("10%");
  EXPECT_EQ(words.take_err(), "10%");
  words.console.show_status("20%");
  EXPECT_EQ(words.take_err(), "\r\x1b[K20%");
  words.console.talk("talk");
  EXPECT_EQ(words.take_err(), "\r\x1b[Ktalk\n20%");
  words.console.show_status("");
  EXPECT_EQ(words.take_err(), "\r\x1b[K");
}

TEST(Console, ThereIsNoStatusLineWhereItCannotBeDrawnOver) {
  StringConsole words;
  words.console.show_status("10%");
  EXPECT_EQ(words.take_err(), "");
}

TEST(Console, RemembersThatResultsCouldNotBeWritten) {
  StringConsole words({}, ENOSPC);
  words.console.print("result\n");
  EXPECT_EQ(words.console.output_errno(), 0);
  words.console.flush();
  EXPECT_EQ(words.console.output_errno(), ENOSPC);
}

}  // namespace
}  // namespace vhdxm::tools
