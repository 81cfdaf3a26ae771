// How the program behaves towards the shell: streams, signals, terminals.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "tests/support/temp_folder.h"
#include "tests/tools/sparse_content.h"
#include "tests/tools/tool_process.h"

namespace vhdxm::test {
namespace {

class CliOutput : public testing::Test {
 protected:
  void SetUp() override {
    make_raw(folder_ / "a.raw", 16 * kMiB, {{kMiB, 3 * kMiB}});
    ASSERT_EQ(run_tool({"import", folder_ / "a.raw", disk_}).exit, 0);
  }

  TempFolder folder_;
  const std::string disk_ = folder_ / "a.vhdx";
};

TEST_F(CliOutput, ExportToStdoutIsTheContentAndNothingElse) {
  const Ended ended = run_tool({"export", disk_, "-"});
  EXPECT_EQ(ended.exit, 0);
  EXPECT_TRUE(ended.out == content_of_file(folder_ / "a.raw"));
  EXPECT_NE(ended.err.find("to stdout"), std::string::npos) << ended.err;
}

TEST_F(CliOutput, JsonGoesToStderrWhereStdoutIsADisk) {
  const Ended ended = run_tool({"export", disk_, "-", "--json"});
  EXPECT_EQ(ended.exit, 0);
  EXPECT_TRUE(ended.out == content_of_file(folder_ / "a.raw"));
  EXPECT_NE(ended.err.find("\"type\":\"done\""), std::string::npos) << ended.err;
}

TEST_F(CliOutput, ADiskIsNotWrittenToATerminal) {
  ToolProcess tool({"export", disk_, "-"}, ToolProcess::Streams::kTerminal);
  const Ended ended = tool.wait();
  EXPECT_EQ(ended.exit, 2);
  EXPECT_NE(ended.out.find("stdout is a terminal"), std::string::npos) << ended.out;
}

TEST_F(CliOutput, AFullDeviceUnderStdoutIsAFailure) {
  const Ended ended = run_program({"sh", "-c", "'" VHDXM_TOOL "' info '" + disk_ + "' >/dev/full"});
  EXPECT_EQ(ended.exit, 1);
  EXPECT_NE(ended.err.find("standard output could not be written"), std::string::npos) << ended.err;
}

TEST_F(CliOutput, AReaderThatGoesAwayIsNoReasonToShout) {
  const Ended ended = run_program(
      {"sh", "-c", "(\"" VHDXM_TOOL "\" map '" + disk_ + "' --json; echo $? >&2) | true"});
  EXPECT_TRUE(ended.err == "0\n" || ended.err == "1\n") << ended.err;
}

TEST_F(CliOutput, AnErrorIsColouredOnATerminalUnlessNoColorIsSet) {
  ToolProcess plain({"info", "none"}, ToolProcess::Streams::kTerminal,
                    {{"TERM", "xterm"}, {"NO_COLOR", "1"}});
  EXPECT_EQ(plain.wait().out.find('\x1b'), std::string::npos);
  ToolProcess coloured({"info", "none"}, ToolProcess::Streams::kTerminal,
                       {{"TERM", "xterm"}, {"NO_COLOR", ""}});
  EXPECT_NE(coloured.wait().out.find("\x1b[1;31merror:"), std::string::npos);
}

TEST_F(CliOutput, TheEnvironmentSetsOptionsAndIsNamedWhenItIsWrong) {
  const Ended good = run_tool({"info", disk_}, {{"VHDX_MIGRATE_JSON", "1"}});
  EXPECT_EQ(good.object("info").at("disk_type").as_string(), "dynamic");
  const Ended bad = run_tool({"create", folder_ / "b.vhdx"}, {{"VHDX_MIGRATE_SIZE", "big"}});
  EXPECT_EQ(bad.exit, 2);
  EXPECT_NE(bad.err.find("VHDX_MIGRATE_SIZE: 'big' is not a size"), std::string::npos) << bad.err;
  const Ended no_switch = run_tool({"info", disk_}, {{"VHDX_MIGRATE_NO_PARENTS", "2"}});
  EXPECT_EQ(no_switch.exit, 2);
  EXPECT_NE(no_switch.err.find("VHDX_MIGRATE_NO_PARENTS: '2' is neither 1 nor 0"),
            std::string::npos)
      << no_switch.err;
  const Ended foreign = run_tool({"info", disk_}, {{"VHDX_MIGRATE_SIZE", "big"}});
  EXPECT_EQ(foreign.exit, 0) << "a variable of another command's option does not matter";
}

/// A disk so large that its export cannot be over before the test is: nobody reads the pipe.
class CliInterrupt : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run_tool({"create", folder_ / "big.vhdx", "--size", "1T"}).exit, 0);
  }

  TempFolder folder_;
};

TEST_F(CliInterrupt, CtrlCEndsWorkInGoodOrder) {
  for (const int number : {SIGINT, SIGTERM}) {
    ToolProcess tool({"compare", folder_ / "big.vhdx", "/dev/zero"});
    EXPECT_NE(tool.wait().exit, 0);  // /dev/zero is no disk
    ToolProcess exporting({"export", folder_ / "big.vhdx", "-"});
    exporting.read_until(std::string(4096, '\0'));
    exporting.signal(number);
    // wait() reads on, so the write under way ends, and the flag is seen.
    const Ended ended = exporting.wait();
    EXPECT_EQ(ended.exit, 130);
    EXPECT_NE(ended.err.find("interrupted"), std::string::npos) << ended.err;
  }
}

TEST_F(CliInterrupt, TheSecondCtrlCEndsTheProcessAtOnce) {
  ToolProcess tool({"export", folder_ / "big.vhdx", "-"});
  tool.read_until(std::string(4096, '\0'));
  // The pipe is full now and nobody reads it. Two signals of one number could become one.
  tool.signal(SIGINT);
  tool.signal(SIGTERM);
  tool.signal(SIGINT);
  EXPECT_EQ(tool.wait().exit, 130);
}

}  // namespace
}  // namespace vhdxm::test
