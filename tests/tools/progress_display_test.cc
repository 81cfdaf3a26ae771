#include "tools/progress_display.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/tools/string_console.h"

namespace vhdxm::tools {
namespace {

using namespace std::chrono_literals;
using test::StringConsole;
using Human = ProgressMode::Human;

ProgressReporter::TimePoint at(std::chrono::milliseconds time) {
  return ProgressReporter::TimePoint(time);
}

ProgressSample sample(const std::string& phase, std::uint64_t done, std::uint64_t total = 100) {
  return {.phase = phase, .disk = "a.vhdx", .done = done, .total = total};
}

unsigned eighty() {
  return 80;
}

std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST(ProgressMode, AutoIsABarOnATerminalLinesElsewhereAndObjectsForPrograms) {
  EXPECT_EQ(progress_mode("auto", false, true), (ProgressMode{.human = Human::kBar}));
  EXPECT_EQ(progress_mode("auto", false, false), (ProgressMode{.human = Human::kPlain}));
  EXPECT_EQ(progress_mode("auto", true, true), (ProgressMode{.human = Human::kNone, .json = true}));
  EXPECT_EQ(progress_mode("plain", true, true),
            (ProgressMode{.human = Human::kPlain, .json = true}));
  EXPECT_EQ(progress_mode("bar", false, false), (ProgressMode{.human = Human::kBar}));
  EXPECT_EQ(progress_mode("none", true, true), ProgressMode{});
}

TEST(ProgressReporter, PlainLinesComeAtChangesOfPhaseAndEveryFewSeconds) {
  StringConsole words;
  ProgressReporter reporter(words.console, {.human = Human::kPlain}, eighty, {});
  reporter.update(sample("copying", 0), at(0ms));
  EXPECT_EQ(words.take_err(), "copying a.vhdx: 0%, 0 B of 100 B\n");
  reporter.update(sample("copying", 10), at(4999ms));
  EXPECT_EQ(words.take_err(), "");
  reporter.update(sample("copying", 20), at(5000ms));
  EXPECT_EQ(lines(words.take_err()), 1U);
  reporter.update(sample("sealing", 0, 0), at(5001ms));
  EXPECT_EQ(words.take_err(), "sealing a.vhdx\n");
}

TEST(ProgressReporter, FinishingShowsWhatWasNotShown) {
  StringConsole words;
  ProgressReporter reporter(words.console, {.human = Human::kPlain}, eighty, {});
  reporter.update(sample("copying", 0), at(0ms));
  reporter.update(sample("copying", 100), at(10ms));
  words.take_err();
  reporter.finish();
  EXPECT_EQ(words.take_err(), "copying a.vhdx: 100%, 100 B of 100 B\n");
}

TEST(ProgressReporter, ABarIsDrawnTenTimesASecondAndTakenAway) {
  StringConsole words({.redraw = true});
  ProgressReporter reporter(words.console, {.human = Human::kBar}, eighty, {});
  reporter.update(sample("copying", 0), at(0ms));
  EXPECT_NE(words.take_err(), "");
  reporter.update(sample("copying", 1), at(99ms));
  EXPECT_EQ(words.take_err(), "");
  reporter.update(sample("copying", 2), at(100ms));
  EXPECT_NE(words.take_err(), "");
  reporter.finish();
  EXPECT_EQ(words.take_err(), "\r\x1b[K");
}

TEST(ProgressReporter, ObjectsCarryThePrefix) {
  StringConsole words({.json = true});
  ProgressReporter reporter(words.console, {.json = true}, eighty, {.json_prefix = {{"job", 3}}});
  reporter.update(sample("copying", 50), at(0ms));
  EXPECT_TRUE(words.take_out().starts_with(
      "{\"schema\":1,\"type\":\"progress\",\"time\":\"2026-11-23T22:51:23.042Z\",\"job\":3,"
      "\"phase\":\"copying\",\"disk\":\"a.vhdx\""));
  EXPECT_EQ(words.take_err(), "");
}

TEST(ProgressReporter, QuickWorkSaysNothingWhereThatWasAskedFor) {
  StringConsole words({.json = true});
  ProgressReporter reporter(words.console, {.human = Human::kPlain, .json = true}, eighty,
                            {.quiet_start = true});
  reporter.update(sample("exporting", 0), at(0ms));
  reporter.update(sample("exporting", 100), at(500ms));
  reporter.finish();
  EXPECT_EQ(words.take_out(), "");
  EXPECT_EQ(words.take_err(), "");
}

TEST(ProgressReporter, SlowWorkIsShownAfterAQuietStart) {
  StringConsole words;
  ProgressReporter reporter(words.console, {.human = Human::kPlain}, eighty, {.quiet_start = true});
  reporter.update(sample("exporting", 0), at(0s));
  reporter.update(sample("exporting", 50), at(5s));
  EXPECT_EQ(lines(words.take_err()), 1U);
  reporter.update(sample("exporting", 100), at(6s));
  reporter.finish();
  EXPECT_EQ(lines(words.take_err()), 1U);
}

TEST(ProgressDisplay, ShowsTheLastSampleBeforeItEnds) {
  StringConsole words;
  {
    ProgressDisplay display(words.console, {.human = Human::kPlain}, /*quiet_start=*/false);
    for (std::uint64_t done = 0; done <= 100; ++done) display.post(sample("copying", done));
  }
  EXPECT_TRUE(words.take_err().ends_with("copying a.vhdx: 100%, 100 B of 100 B\n"));
}

TEST(TalkQueue, DoesEverythingInOrder) {
  std::string said;
  {
    TalkQueue queue;
    for (char c = 'a'; c <= 'e'; ++c) queue.post([&said, c] { said += c; });
  }
  EXPECT_EQ(said, "abcde");
}

TEST(TalkQueue, LeavesOutWhatIsOutOfDate) {
  std::string said;
  {
    TalkQueue queue;
    std::mutex gate;
    std::unique_lock closed(gate);
    queue.post([&gate] { const std::lock_guard wait(gate); });
    queue.post_latest("a", [&said] { said += '1'; });
    queue.post_latest("a", [&said] { said += '2'; });
    queue.post_latest("b", [&said] { said += '3'; });
    queue.post_latest("a", [&said] { said += '4'; });
    closed.unlock();
  }
  EXPECT_EQ(said, "234");
}

}  // namespace
}  // namespace vhdxm::tools
