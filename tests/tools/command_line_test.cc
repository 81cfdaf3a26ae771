#include "tools/command_line.h"

#include <gtest/gtest.h>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <string>
#include <vector>

#include "tests/tools/string_console.h"

namespace vhdxm::tools {
namespace {

const std::vector<std::string> kCommands = {"info",    "map",     "check",  "create",
                                            "compare", "export",  "import", "receive",
                                            "send",    "cleanup", "serve",  "advise"};

struct Ran {
  int exit = 0;
  std::string out;
  std::string err;
};

Ran run(const std::vector<std::string>& words, const Surroundings& surroundings = {}) {
  test::StringConsole console;
  Interrupt interrupt;
  Ran ran;
  ran.exit = run_command_line(words, console.console, interrupt, surroundings);
  ran.out = console.take_out();
  ran.err = console.take_err();
  return ran;
}

TEST(CommandLine, HelpOfEveryCommandBeginsWithExamples) {
  for (const std::string& command : kCommands) {
    const Ran ran = run({command, "--help"});
    EXPECT_EQ(ran.exit, 0) << command;
    EXPECT_TRUE(ran.out.starts_with("Examples:\n  vhdx-migrate " + command + " ")) << ran.out;
    EXPECT_NE(ran.out.find("\nUsage: vhdx-migrate " + command + " "), std::string::npos);
    EXPECT_EQ(run({"help", command}).out, ran.out);
  }
  const Ran general = run({"--help"});
  EXPECT_TRUE(general.out.starts_with("Examples:\n"));
  for (const std::string& command : kCommands) {
    EXPECT_NE(general.out.find("\n  " + command + " "), std::string::npos) << command;
  }
}

TEST(CommandLine, HelpFitsATerminalAndOffersNothingThatIsNotThere) {
  for (const std::string& command : kCommands) {
    const std::string help = run({command, "--help"}).out;
    for (std::size_t at = 0; at < help.size();) {
      const auto end = std::min(help.find('\n', at), help.size());
      EXPECT_LE(end - at, 100U) << help.substr(at, end - at);
      at = end + 1;
    }
    for (const char* later : {"doctor", "resolve"}) {
      EXPECT_EQ(help.find(later), std::string::npos) << command << " offers " << later;
    }
  }
}

TEST(CommandLine, VersionIsPrinted) {
  const Ran ran = run({"--version"});
  EXPECT_EQ(ran.exit, 0);
  EXPECT_TRUE(ran.out.starts_with("vhdx-migrate 0.")) << ran.out;
  EXPECT_EQ(run({"info", "--version"}).out, ran.out);
}

TEST(CommandLine, WrongUsageIsExitTwoWithAdvice) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"move"},
      {"--force", "info"},
      {"info"},
      {"info", "a", "b"},
      {"info", "--deep", "a"},
      {"create", "a.vhdx"},
      {"create", "a.vhdx", "--size", "8x"},
      {"create", "a.vhdx", "--size", "8G", "--block-size", "3M"},
      {"create", "a.vhdx", "--size", "8G", "--logical-sector", "520"},
      {"create", "a.vhdx", "--size", "513"},
      {"create", "a.vhdx", "--size", "65T"},
      {"create", "/", "--size", "8G"},
      {"import", "-", "a.vhdx"},
      {"send", "a.vhdx"},
      {"send", "a.vhdx", "host:"},
      {"send", "a.vhdx", "host:0"},
      {"send", "a.vhdx", "host", "--limit", "400"},
      {"send", "a.vhdx", "host", "--mode", "fast"},
      {"send", "a.vhdx", "host", "--mode", "compress", "--level", "13"},
      {"send", "a.vhdx", "host", "--mode", "compress", "--level", "0"},
      {"send", "a.vhdx", "host", "--mode", "auto", "--level", "1"},
      {"send", "a.vhdx", "host", "--cpu-share", "0"},
      {"send", "a.vhdx", "host", "--as", "x/y/z.vhdx"},
      {"send", "a.vhdx", "host", "--as", "../y.vhdx"},
      {"send", "a.vhdx", "host", "--as", "/y.vhdx"},
      {"receive", "--into", "/tmp", "--folder", "fast"},
      {"receive", "--into", "/tmp", "--folder", "a/b=/tmp"},
      {"receive", "--into", "/tmp", "--folder", "a=/tmp", "--folder", "a=/var"},
      {"send", "a.vhdx", "host", "--level", "3"},
      {"receive"},
      {"receive", "--into", ".", "--listen", "x:y"},
      {"receive", "--into", ".", "--owner", "no-such-user"},
      {"receive", "--into", ".", "--file-mode", "999"},
  };
  for (const auto& words : wrong) {
    std::string line;
    for (const auto& word : words) line += " " + word;
    const Ran human = run(words);
    EXPECT_EQ(human.exit, 2) << line;
    EXPECT_EQ(human.out, "") << line;
    EXPECT_TRUE(human.err.starts_with("vhdx-migrate: error: ")) << human.err;
    EXPECT_NE(human.err.find('\n'), human.err.size() - 1) << "no advice: " << human.err;

    auto with_json = words;
    with_json.insert(with_json.begin(), "--json");
    const Ran machine = run(with_json);
    EXPECT_EQ(machine.exit, 2) << line;
    EXPECT_EQ(machine.err, "") << line;
    const auto object = boost::json::parse(machine.out).as_object();
    EXPECT_EQ(object.at("schema").as_int64(), 1);
    EXPECT_EQ(object.at("type").as_string(), "error");
    EXPECT_EQ(object.at("time").as_string(), "2026-11-23T22:51:23.042Z");
    EXPECT_EQ(object.at("exit").as_int64(), 2);
    EXPECT_NE(object.at("message").as_string(), "");
    EXPECT_NE(object.at("advice").as_string(), "");
  }
}

TEST(CommandLine, SendSaysWhoOwnsTheDiskEvenWhenItDoesNotBegin) {
  const Ran ran = run({"send", "/nowhere/web01.vhdx", "host", "--json"});
  EXPECT_EQ(ran.exit, 1);
  EXPECT_EQ(boost::json::parse(ran.out).as_object().at("ownership").as_string(),
            "The source still owns /nowhere/web01.vhdx; it was not changed.");
}

TEST(CommandLine, ErrorsAreInColourOnATerminalOnly) {
  EXPECT_NE(run({"move"}, {.stderr_color = true}).err.find("\x1b[1;31merror:\x1b[0m"),
            std::string::npos);
  EXPECT_EQ(run({"move"}).err.find('\x1b'), std::string::npos);
}

TEST(CommandLine, AHostileNameInAnErrorCannotDriveTheTerminal) {
  EXPECT_EQ(run({"info", "/nowhere/\x1b[2J"}).err.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace vhdxm::tools
