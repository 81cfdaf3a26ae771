#include "tools/progress_sample.h"

#include <gtest/gtest.h>

namespace vhdxm::tools {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr std::uint64_t kGiB = 1024 * kMiB;

Pace::TimePoint at(std::chrono::milliseconds time) {
  return Pace::TimePoint(time);
}

transfer::Progress copying() {
  transfer::Progress progress;
  progress.phase = transfer::Phase::kCopying;
  progress.disk = "web01.vhdx";
  progress.disk_count = 1;
  progress.bytes_total = 8 * kGiB;
  progress.bytes_done = 2 * kGiB;
  progress.wire_bytes = kGiB;
  progress.zero_bytes = kGiB;
  progress.unallocated_bytes = 32 * kGiB;
  progress.streams = 4;
  return progress;
}

/// 100 MiB a second up to `done`.
Pace steady_pace(std::uint64_t done) {
  Pace pace;
  pace.add(at(0s), done - 200 * kMiB);
  pace.add(at(2s), done);
  return pace;
}

TEST(Pace, IsTheRateOfTheLastSeconds) {
  Pace pace;
  pace.add(at(0s), 0);
  EXPECT_EQ(pace.bytes_per_second(), 0U);
  pace.add(at(2s), 200);
  EXPECT_EQ(pace.bytes_per_second(), 100U);
  pace.add(at(20s), 200);
  pace.add(at(31s), 1300);
  // Only the points from 20 s on are left in the window.
  EXPECT_EQ(pace.bytes_per_second(), 100U);
}

TEST(Pace, SaysNothingTooEarly) {
  Pace pace;
  pace.add(at(0ms), 0);
  pace.add(at(100ms), kGiB);
  EXPECT_EQ(pace.bytes_per_second(), 0U);
  EXPECT_EQ(pace.remaining(2 * kGiB), std::nullopt);
}

TEST(Pace, TellsWhatRemainsRoundedUp) {
  Pace pace;
  pace.add(at(0s), 0);
  pace.add(at(1s), 100);
  EXPECT_EQ(pace.remaining(350), 3s);
  EXPECT_EQ(pace.remaining(100), 0s);
  EXPECT_EQ(pace.remaining(50), std::nullopt);
}

TEST(Pace, BeginsAnewWhenTheCountGoesBack) {
  Pace pace;
  pace.add(at(0s), 1000);
  pace.add(at(1s), 2000);
  pace.add(at(2s), 10);
  EXPECT_EQ(pace.bytes_per_second(), 0U);
}

TEST(ProgressLine, SaysEverything) {
  const ProgressSample sample = sample_of(copying());
  EXPECT_EQ(
      progress_line(sample, steady_pace(sample.done)),
      "copying web01.vhdx: 25%, 2 GiB of 8 GiB, wire 1 GiB, saved 33 GiB (unallocated 32 GiB, "
      "zero 1 GiB), 100 MiB/s, 1:02 min left");
}

TEST(ProgressLine, OfAPhaseWithoutBytesIsItsName) {
  transfer::Progress progress = copying();
  progress.phase = transfer::Phase::kSealing;
  EXPECT_EQ(progress_line(sample_of(progress), {}), "sealing web01.vhdx");
}

TEST(ProgressLine, CountsDisksFromOne) {
  transfer::Progress progress;
  progress.disk = "base.vhdx";
  progress.disk_count = 3;
  EXPECT_EQ(progress_line(sample_of(progress), {}), "connecting base.vhdx (1 of 3)");
}

TEST(ProgressLine, OfVerifyingCountsThatPhase) {
  transfer::Progress progress = copying();
  progress.phase = transfer::Phase::kVerifying;
  progress.phase_bytes_total = 4 * kGiB;
  progress.phase_bytes_done = kGiB;
  EXPECT_TRUE(progress_line(sample_of(progress), {})
                  .starts_with("verifying web01.vhdx: 25%, 1 GiB of 4 GiB"));
}

TEST(ProgressLine, IsNotFullBeforeEverythingIsDone) {
  ProgressSample sample{.phase = "copying", .disk = "a", .done = 9999, .total = 10000};
  EXPECT_TRUE(progress_line(sample, {}).starts_with("copying a: 99%"));
}

TEST(ProgressLine, AHostileNameCannotDriveTheTerminal) {
  ProgressSample sample{.phase = "copying", .disk = "\x1b[2J"};
  EXPECT_EQ(progress_line(sample, {}), "copying \\x1b[2J");
}

TEST(ProgressBar, FitsEveryWidthAndLeavesOutWhatMattersLess) {
  const ProgressSample sample = sample_of(copying());
  const Pace pace = steady_pace(sample.done);
  EXPECT_EQ(progress_bar(sample, pace, 200),
            "copying web01.vhdx  25% [#######-----------------------]  2 GiB of 8 GiB  100 MiB/s  "
            "ETA 1:02 min  wire 1 GiB  saved 33 GiB (unallocated 32 GiB, zero 1 GiB)");
  EXPECT_EQ(progress_bar(sample, pace, 80),
            "copying web01.vhdx  25% [###---------]  2 GiB of 8 GiB  100 MiB/s  ETA 1:02 min");
  EXPECT_EQ(progress_bar(sample, pace, 30), "copying web01.vhdx  25%");
  for (unsigned columns = 1; columns < 200; ++columns) {
    EXPECT_LT(progress_bar(sample, pace, columns).size(), std::max(columns, 2U)) << columns;
  }
}

TEST(ProgressBar, CutsLongNamesByCharacters) {
  ProgressSample sample{.phase = "copying", .disk = {}, .done = 1, .total = 2};
  for (int i = 0; i < 40; ++i) sample.disk += "\xc3\xbc";
  std::string name;
  for (int i = 0; i < 27; ++i) name += "\xc3\xbc";
  EXPECT_TRUE(progress_bar(sample, {}, 100).starts_with("copying " + name + "~  50% ["));
}

TEST(ProgressFields, HoldEverythingAProgramWants) {
  const ProgressSample sample = sample_of(copying());
  const boost::json::object fields = progress_fields(sample, steady_pace(sample.done));
  EXPECT_EQ(fields.at("phase").as_string(), "copying");
  EXPECT_EQ(fields.at("disk").as_string(), "web01.vhdx");
  EXPECT_EQ(fields.at("percent").as_uint64(), 25U);
  EXPECT_EQ(fields.at("bytes_done").as_uint64(), 2 * kGiB);
  EXPECT_EQ(fields.at("bytes_total").as_uint64(), 8 * kGiB);
  EXPECT_EQ(fields.at("wire_bytes").as_uint64(), kGiB);
  EXPECT_EQ(fields.at("zero_bytes").as_uint64(), kGiB);
  EXPECT_EQ(fields.at("unallocated_bytes").as_uint64(), 32 * kGiB);
  EXPECT_EQ(fields.at("streams").as_uint64(), 4U);
  EXPECT_EQ(fields.at("bytes_per_second").as_uint64(), 100 * kMiB);
  EXPECT_EQ(fields.at("eta_seconds").as_int64(), 62);
}

TEST(ProgressFields, SayNullWhereNobodyKnows) {
  EXPECT_TRUE(progress_fields(sample_of(copying()), {}).at("eta_seconds").is_null());
}

TEST(FormatDuration, ReadsWell) {
  EXPECT_EQ(format_duration(0s), "0 s");
  EXPECT_EQ(format_duration(59s), "59 s");
  EXPECT_EQ(format_duration(185s), "3:05 min");
  EXPECT_EQ(format_duration(3730s), "1:02:10 h");
}

}  // namespace
}  // namespace vhdxm::tools
