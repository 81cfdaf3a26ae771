#include "tools/exit_codes.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tools/command_failure.h"
#include "vhdx/errc.h"

namespace vhdxm::tools {
namespace {

TEST(ExitCodes, NumbersAreThoseOfTheManual) {
  using enum transfer::FailureClass;
  const auto number = [](transfer::FailureClass failure_class) {
    return static_cast<int>(exit_code_of(failure_class));
  };
  EXPECT_EQ(number(kFailed), 1);
  EXPECT_EQ(number(kUsage), 2);
  EXPECT_EQ(number(kIncompatible), 3);
  EXPECT_EQ(number(kAuthentication), 4);
  EXPECT_EQ(number(kNetwork), 5);
  EXPECT_EQ(number(kData), 6);
  EXPECT_EQ(number(kCancelled), 7);
  EXPECT_EQ(static_cast<int>(ExitCode::kInterrupted), 130);
}

TEST(ExitCodes, ADamagedImageIsDataAndAMissingFileIsNot) {
  EXPECT_EQ(exit_code_of(vhdx::format_error(vhdx::Errc::kBadBatEntry, "")), ExitCode::kData);
  EXPECT_EQ(exit_code_of(vhdx::format_error(vhdx::Errc::kNotVhdx, "")), ExitCode::kData);
  EXPECT_EQ(exit_code_of(vhdx::format_error(vhdx::Errc::kParentMismatch, "")), ExitCode::kData);
  EXPECT_EQ(exit_code_of(Error{.code = BaseErrc::kShortRead}), ExitCode::kData);
  errno = ENOENT;
  EXPECT_EQ(exit_code_of(errno_error("open")), ExitCode::kFailed);
}

TEST(ExitCodes, AnImageThatIsOnlyNotUnderstoodIsNotCorrupt) {
  for (const auto errc :
       {vhdx::Errc::kUnsupportedVersion, vhdx::Errc::kUnknownRequiredRegion,
        vhdx::Errc::kUnknownRequiredItem, vhdx::Errc::kParentNotFound, vhdx::Errc::kInUse}) {
    EXPECT_EQ(exit_code_of(vhdx::format_error(errc, "")), ExitCode::kFailed);
  }
}

TEST(CommandFailure, SaysTheThingTheReasonAndWhatToDo) {
  errno = ENOENT;
  const CommandFailure failure = failure_of(errno_error("open").about("web01.vhdx"));
  EXPECT_EQ(failure.message, "web01.vhdx: No such file or directory: open");
  EXPECT_EQ(failure.advice, "Check the path.");
}

TEST(CommandFailure, OfACorruptImageAdvisesToCheckThatFile) {
  const CommandFailure failure =
      failure_of(vhdx::format_error(vhdx::Errc::kBadBatEntry, "BAT").about("a b.vhdx"));
  EXPECT_EQ(failure.exit, ExitCode::kData);
  EXPECT_EQ(failure.advice,
            "Run `vhdx-migrate check 'a b.vhdx'` to see every rule that is broken.");
}

TEST(CommandFailure, OfATransferKeepsItsWords) {
  const CommandFailure failure =
      failure_of(transfer::Failure{.failure_class = transfer::FailureClass::kNetwork,
                                   .error = {},
                                   .message = "newhost: refused",
                                   .advice = "Start it."});
  EXPECT_EQ(failure.exit, ExitCode::kNetwork);
  EXPECT_EQ(failure.message, "newhost: refused");
  EXPECT_EQ(failure.advice, "Start it.");
}

}  // namespace
}  // namespace vhdxm::tools
