// Power losses while a disk is in use, and while what they left is being mended: what was flushed
// is there, every other sector is old or new, and the file keeps every rule.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <random>
#include <string>

#include "tests/support/crash_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/writable_disk.h"
#include "vhdx/check.h"

namespace vhdxm::vhdx {
namespace {

using test::CrashFile;
using test::kTornUnitBytes;
using test::succeeded;
using test::WritableDisk;
using test::WriteHistory;

/// Crash states of each of six kinds of disk: 54,000 in all.
constexpr std::size_t kStatesMin = 9000;

std::size_t states_min() {
  return test::crash_states(kStatesMin);
}

class DiskWriterCrash : public testing::TestWithParam<test::DiskKind> {
 protected:
  DiskWriterCrash() { std::cout << test::repeat_with(seed_) << "\n"; }

  /// Sessions of random operations on one file; the last may end without a close.
  void play(const std::shared_ptr<CrashFile>& file, WriteHistory& history, int sessions,
            int operations) {
    for (int session = 0; session < sessions; ++session) {
      auto disk = disk_.open(file);
      ASSERT_TRUE(succeeded(disk));
      for (int i = 0; i < operations; ++i) {
        const auto operation = test::random_operation(disk_.geometry(), ++tag_, random_);
        const std::size_t begin = file->operation_count();
        ASSERT_TRUE(succeeded(test::apply(**disk, operation)));
        history.add(test::event_of(operation, begin, file->operation_count()));
        note_places(operation);
      }
      const std::size_t begin = file->operation_count();
      ASSERT_TRUE(succeeded((*disk)->close()));
      history.add(test::event_of({}, begin, file->operation_count()));
    }
  }

  /// Units worth reading: the edges of what was written, and what stands around them.
  void note_places(const test::DiskOperation& operation) {
    const std::uint64_t first = operation.offset / kTornUnitBytes;
    const std::uint64_t end = first + operation.length / kTornUnitBytes;
    for (const std::uint64_t unit : {first - 1, first, end - 1, end, (first + end) / 2}) {
      if (unit < disk_.tags().size()) places_.insert(unit);
    }
  }

  /// The file after a crash: sound, and each place holds what it may.
  void expect_holds(const std::shared_ptr<File>& file, const WriteHistory& history,
                    std::size_t operations) {
    const auto report = check(file);
    ASSERT_TRUE(succeeded(report));
    for (const Finding& finding : report->findings) {
      ASSERT_NE(finding.severity, Finding::Severity::kCorrupt) << finding.rule << finding.what;
    }
    auto image = disk_.open_for_reading(file);
    ASSERT_TRUE(succeeded(image));
    std::vector<std::byte> bytes(kTornUnitBytes);
    const auto expect_unit = [&](std::uint64_t unit) {
      ASSERT_TRUE(succeeded((*image)->read(unit * kTornUnitBytes, bytes)));
      const auto tag = test::tag_of(bytes, unit);
      ASSERT_TRUE(tag.has_value()) << "unit " << unit << " holds garbage";
      ASSERT_TRUE(history.allowed_after(operations, unit).contains(*tag))
          << "unit " << unit << " holds what write " << *tag << " put there";
    };
    for (const std::uint64_t unit : places_) expect_unit(unit);
    for (int i = 0; i < 4; ++i) expect_unit(random_() % history.unit_count());
  }

  /// Replays the log on the file, with a power loss at every moment of that.
  std::size_t expect_replay_survives(const MemoryFile& left, const WriteHistory& history,
                                     std::size_t operations) {
    const auto file = std::make_shared<CrashFile>(left);
    EXPECT_TRUE(succeeded(Layer::open(file, Layer::Replay::kOnFile)));
    std::size_t states = 0;
    file->for_each_crash(1, random_, [&](const CrashFile::Crash& crash) {
      if (HasFatalFailure()) return;
      SCOPED_TRACE("in the replay, " + crash.describe());
      expect_holds(file->after(crash, random_), history, operations);
      ++states;
    });
    return states;
  }

  const std::uint64_t seed_ = test::random_seed();
  std::mt19937_64 random_{seed_};
  const WritableDisk disk_{GetParam()};
  std::set<std::uint64_t> places_;
  std::uint32_t tag_ = 0;
};

TEST_P(DiskWriterCrash, FlushedIsThereAndTheRestIsOldOrNew) {
  const bool fewer = states_min() < kStatesMin;
  std::mt19937_64 picking(seed_);
  std::size_t states = 0;
  std::size_t replay_states = 0;
  while (states < states_min() && !HasFatalFailure()) {
    const auto file = std::make_shared<CrashFile>(disk_.file());
    WriteHistory history(disk_.tags());
    places_.clear();
    play(file, history, 3, 25);
    // All states of a recording, unless fewer than usual are wanted: then so many of them.
    std::size_t all = 0;
    auto same_random = random_;
    file->for_each_crash(2, same_random, [&](const CrashFile::Crash&) { ++all; });
    std::uniform_int_distribution<std::size_t> place(1, all);
    file->for_each_crash(2, random_, [&](const CrashFile::Crash& crash) {
      if (HasFatalFailure() || (fewer && place(picking) > states_min())) return;
      SCOPED_TRACE(crash.describe());
      const auto left = file->after(crash, random_);
      expect_holds(left, history, crash.operations);
      ++states;
      if (random_() % 64 != 0 || (fewer && replay_states >= states_min())) return;
      replay_states += expect_replay_survives(*left, history, crash.operations);
    });
  }
  std::cout << states << " crash states, and " << replay_states << " more while replaying\n";
}

TEST_P(DiskWriterCrash, TheNextSessionGoesOnFromAnyCrash) {
  const auto file = std::make_shared<CrashFile>(disk_.file());
  WriteHistory history(disk_.tags());
  play(file, history, 1, 40);
  const std::size_t sessions_max = std::min<std::size_t>(60, states_min() / 50);
  std::size_t all = 0;
  auto same_random = random_;
  file->for_each_crash(1, same_random, [&](const CrashFile::Crash&) { ++all; });
  const std::size_t each = std::max<std::size_t>(1, all / sessions_max);
  std::size_t sessions = 0;
  std::size_t place = random_() % each;
  file->for_each_crash(1, random_, [&](const CrashFile::Crash& crash) {
    if (HasFatalFailure() || place++ % each != 0) return;
    SCOPED_TRACE(crash.describe());
    const auto left = file->after(crash, random_);
    // What the crash made of every unit is what the next session starts from.
    auto image = disk_.open_for_reading(left->clone());
    ASSERT_TRUE(succeeded(image));
    std::vector<std::uint32_t> tags;
    std::vector<std::byte> bytes(kTornUnitBytes);
    for (std::uint64_t unit = 0; unit < disk_.tags().size(); ++unit) {
      ASSERT_TRUE(succeeded((*image)->read(unit * kTornUnitBytes, bytes)));
      tags.push_back(test::tag_of(bytes, unit).value());
    }
    WriteHistory next(tags);
    const auto again = std::make_shared<CrashFile>(*left);
    play(again, next, 1, 12);
    const auto at = again->operation_count();
    again->for_each_crash(0, random_, [&](const CrashFile::Crash& second) {
      if (HasFatalFailure() || (second.operations != at && random_() % 16 != 0)) return;
      SCOPED_TRACE("then " + second.describe());
      expect_holds(again->after(second, random_), next, second.operations);
    });
    ++sessions;
  });
  std::cout << sessions << " sessions after a crash\n";
  EXPECT_GT(sessions, 10U);
}

// A failing flush, log write or write in place: nothing is believed any more, and what was flushed
// before is there.
TEST_P(DiskWriterCrash, AnyFailingOperationIsFinalAndLosesNothing) {
  std::size_t failures = 0;
  for (std::size_t number = 0;; ++number) {
    const auto file = std::make_shared<CrashFile>(disk_.file());
    file->fail_operation(number);
    random_.seed(seed_);
    WriteHistory history(disk_.tags());
    auto disk = disk_.open(file);
    ASSERT_TRUE(succeeded(disk));
    std::optional<Error> error;
    for (int i = 0; i < 30 && !error; ++i) {
      const auto operation = test::random_operation(disk_.geometry(), ++tag_, random_);
      const std::size_t begin = file->operation_count();
      auto done = test::apply(**disk, operation);
      // A write that failed may have got anywhere.
      auto event = test::event_of(operation, begin, file->operation_count());
      if (done.has_error()) {
        error = done.error();
        if (event.kind == WriteHistory::Kind::kFlush) event.end = ~std::size_t{0};
        if (event.kind == WriteHistory::Kind::kWrite) event.kind = WriteHistory::Kind::kTrim;
        event.begin = 0;
      }
      history.add(event);
      note_places(operation);
    }
    const auto closed = (*disk)->close();
    if (!error && !closed.has_error()) break;
    ++failures;
    SCOPED_TRACE(number);
    expect_holds(file->after({.operations = file->operation_count(),
                              .fates = std::vector(file->operation_count(), CrashFile::Fate::kKept),
                              .sector_bytes = 512},
                             random_),
                 history, ~std::size_t{0} - 1);
    if (HasFatalFailure()) return;
  }
  std::cout << failures << " failures\n";
  EXPECT_GT(failures, 10U);
}

INSTANTIATE_TEST_SUITE_P(All, DiskWriterCrash, testing::ValuesIn(test::all_disk_kinds()),
                         [](const auto& param) { return test::to_string(param.param); });

}  // namespace
}  // namespace vhdxm::vhdx
