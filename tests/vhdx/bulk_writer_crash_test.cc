// Power losses and failing files: until seal() has returned, a file is no VHDX or the whole disk.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>

#include "tests/support/crash_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/model_disk.h"
#include "tests/support/random_seed.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/layer.h"

namespace vhdxm::vhdx {
namespace {

using test::CrashFile;
using test::ModelDisk;
using test::random_seed;
using test::repeat_with;
using test::succeeded;

/// A small disk that has some of everything.
ModelDisk small_disk(DiskType type, std::uint64_t seed) {
  const Geometry geometry{.virtual_size_bytes = 5 * kMiB + 512,
                          .block_bytes = static_cast<std::uint32_t>(kMiB),
                          .logical_sector_bytes = 512,
                          .physical_sector_bytes = 512,
                          .type = type};
  const ExtentKind absent =
      type == DiskType::kDifferencing ? ExtentKind::kParent : ExtentKind::kUnmapped;
  return {geometry,
          {{.offset = 0, .length = 20 * kKiB, .kind = ExtentKind::kData},
           {.offset = 20 * kKiB, .length = kMiB - 20 * kKiB, .kind = absent},
           {.offset = kMiB, .length = kMiB, .kind = ExtentKind::kZero},
           {.offset = 2 * kMiB, .length = kMiB, .kind = absent},
           {.offset = 3 * kMiB, .length = kMiB, .kind = ExtentKind::kUnmapped},
           {.offset = 4 * kMiB, .length = 1536, .kind = absent},
           {.offset = 4 * kMiB + 1536, .length = 30 * kKiB, .kind = ExtentKind::kData},
           {.offset = 4 * kMiB + 1536 + 30 * kKiB,
            .length = kMiB - 1024 - 30 * kKiB,
            .kind = ExtentKind::kZero}},
          seed};
}

class Bringing {
 public:
  Bringing(const ModelDisk& disk, const BlockPlan& plan, std::mt19937_64& random)
      : disk_(disk), plan_(plan), random_(random) {}

  Result<std::unique_ptr<BulkWriter>> start(const std::shared_ptr<File>& file) {
    return BulkWriter::start(file, disk_.description(), plan_, {});
  }

  Result<void> bring(BulkWriter& writer) {
    for (const auto& operation : disk_.operations(writer.plan(), random_)) {
      VHDXM_TRY_VOID(disk_.apply(writer, operation));
      if (random_() % 4 == 0) VHDXM_TRY_VOID(writer.sync());
    }
    return {};
  }

 private:
  const ModelDisk& disk_;
  const BlockPlan& plan_;
  std::mt19937_64& random_;
};

class BulkWriterCrash : public testing::TestWithParam<DiskType> {
 protected:
  BulkWriterCrash() { std::cout << repeat_with(seed_) << "\n"; }

  const std::uint64_t seed_ = random_seed();
  std::mt19937_64 random_{seed_};
  const ModelDisk disk_ = small_disk(GetParam(), seed_);
  const BlockPlan plan_ = disk_.plan(random_);
  Bringing bringing_{disk_, plan_, random_};
};

TEST_P(BulkWriterCrash, NoStateShowsAnythingButTheWholeDisk) {
  const auto file = std::make_shared<CrashFile>();
  auto writer = bringing_.start(file);
  ASSERT_TRUE(succeeded(writer));
  ASSERT_TRUE(succeeded(bringing_.bring(**writer)));
  ASSERT_TRUE(succeeded((*writer)->seal()));

  std::size_t states = 0;
  std::size_t opened = 0;
  file->for_each_crash(20, random_, [&](const CrashFile::Crash& crash) {
    if (HasFatalFailure()) return;
    ++states;
    const auto left = file->after(crash, random_);
    auto layer = Layer::open(left, Layer::Replay::kInMemory);
    const bool is_end = crash.operations == file->operation_count();
    if (layer.has_error() && !is_end) return;
    SCOPED_TRACE(crash.describe());
    ASSERT_TRUE(succeeded(layer));
    ASSERT_TRUE(succeeded((*layer)->validate_bat()));
    disk_.expect_in(**layer);
    ++opened;
  });
  std::cout << states << " crash states, " << opened << " of them with the whole disk\n";
  EXPECT_GT(states, 1000U);
  EXPECT_GE(opened, 2U);
  EXPECT_LT(opened, states);
}

TEST_P(BulkWriterCrash, WhatIsLeftCanBeResumed) {
  const auto file = std::make_shared<CrashFile>();
  auto writer = bringing_.start(file);
  ASSERT_TRUE(succeeded(writer));
  ASSERT_TRUE(succeeded(bringing_.bring(**writer)));
  ASSERT_TRUE(succeeded((*writer)->seal()));

  std::size_t resumed = 0;
  file->for_each_crash(1, random_, [&](const CrashFile::Crash& crash) {
    if (HasFatalFailure() || random_() % 8 != 0) return;
    SCOPED_TRACE(crash.describe());
    const auto left = file->after(crash, random_);
    auto again = BulkWriter::resume(left, disk_.description(), plan_, {});
    if (again.has_error()) {
      // Its size was not durable yet.
      ASSERT_EQ(again.error().code, BaseErrc::kInvalidArgument);
      return;
    }
    ASSERT_TRUE(succeeded(bringing_.bring(**again)));
    ASSERT_TRUE(succeeded((*again)->seal()));
    auto layer = Layer::open(left, Layer::Replay::kInMemory);
    ASSERT_TRUE(succeeded(layer));
    disk_.expect_in(**layer);
    ++resumed;
  });
  std::cout << resumed << " crash states resumed\n";
  EXPECT_GT(resumed, 20U);
}

// What a job does that goes on after a power loss: look at what is held, believe only what is
// right, bring the rest.
TEST_P(BulkWriterCrash, WhatWasSyncedIsThereAfterAPowerLossAndTheRestIsNoticed) {
  constexpr std::uint64_t kCell = 256 * kKiB;
  constexpr std::uint64_t kSize = 6 * kMiB;
  constexpr std::uint64_t kSynced = 11 * kCell;
  Geometry geometry = disk_.geometry();
  geometry.virtual_size_bytes = kSize;
  const ModelDisk disk(geometry, {{.length = kSize, .kind = ExtentKind::kData}}, seed_);
  const BlockPlan plan = disk.plan(random_);
  std::vector<std::byte> all(kSize);
  disk.fill(0, all);
  const auto content = [&](std::uint64_t cell) { return std::span(all).subspan(cell, kCell); };
  const auto file = std::make_shared<CrashFile>();
  auto writer = BulkWriter::start(file, disk.description(), plan, {});
  ASSERT_TRUE(succeeded(writer));
  std::size_t synced_at = 0;
  for (std::uint64_t cell = 0; cell < kSize; cell += kCell) {
    if (cell == kSynced) {
      ASSERT_TRUE(succeeded((*writer)->sync()));
      synced_at = file->operation_count();
    }
    ASSERT_TRUE(succeeded((*writer)->write(cell, content(cell))));
  }

  constexpr std::size_t kStates = 2000;
  const unsigned one_of = test::crash_states(kStates) < kStates ? 16 : 4;
  std::size_t states = 0;
  std::size_t brought = 0;
  file->for_each_crash(2, random_, [&](const CrashFile::Crash& crash) {
    if (HasFatalFailure() || crash.operations < synced_at || random_() % one_of != 0) return;
    SCOPED_TRACE(crash.describe());
    const auto left = file->after(crash, random_);
    auto again = BulkWriter::resume(left, disk.description(), plan, {});
    ASSERT_TRUE(succeeded(again));
    const auto held = (*again)->held_ranges(kCell);
    ASSERT_TRUE(succeeded(held));
    for (std::uint64_t cell = 0; cell < kSize; cell += kCell) {
      const bool is_held = std::any_of(held->begin(), held->end(), [cell](const auto& range) {
        return range.offset <= cell && cell < range.offset + range.length;
      });
      const auto want = content(cell);
      std::vector<std::byte> found(kCell);
      std::vector<bool> present;
      ASSERT_TRUE(succeeded((*again)->read_back(cell, found)));
      ASSERT_TRUE(succeeded((*again)->read_presence(cell, kCell, present)));
      const bool right = is_held && std::equal(found.begin(), found.end(), want.begin()) &&
                         std::find(present.begin(), present.end(), false) == present.end();
      EXPECT_TRUE(right || cell >= kSynced) << "lost although it was durable: " << cell;
      if (right) continue;
      ++brought;
      ASSERT_TRUE(succeeded((*again)->write(cell, want)));
    }
    ASSERT_TRUE(succeeded((*again)->seal()));
    auto layer = Layer::open(left, Layer::Replay::kInMemory);
    ASSERT_TRUE(succeeded(layer));
    disk.expect_in(**layer);
    ++states;
  });
  std::cout << states << " crash states, " << brought << " cells brought again\n";
  EXPECT_GT(states, 10U);
}

TEST_P(BulkWriterCrash, AnyFailingOperationFailsSealForGood) {
  std::size_t failures = 0;
  for (std::size_t number = 0;; ++number) {
    const auto file = std::make_shared<CrashFile>();
    file->fail_operation(number);
    // The same operations every time.
    random_.seed(seed_);
    auto writer = bringing_.start(file);
    if (writer.has_error()) {
      ++failures;
      EXPECT_EQ(writer.error().code, BaseErrc::kInjected);
      continue;
    }
    const auto brought = bringing_.bring(**writer);
    const auto sealed = (*writer)->seal();
    if (!brought.has_error() && !sealed.has_error()) break;
    ++failures;
    EXPECT_TRUE(test::failed_with(sealed, BaseErrc::kInjected, "crash"));
    // The file works again, but nobody may believe it.
    EXPECT_TRUE(test::failed_with((*writer)->seal(), BaseErrc::kInjected));
    EXPECT_TRUE(test::failed_with((*writer)->sync(), BaseErrc::kInjected));
    EXPECT_TRUE(
        test::failed_with((*writer)->write(0, std::vector<std::byte>(512)), BaseErrc::kInjected));
    EXPECT_TRUE(
        test::failed_with((*writer)->mark(ExtentKind::kZero, kMiB, kMiB), BaseErrc::kInjected));
    if (brought.has_error()) {
      EXPECT_TRUE(Layer::open(file, Layer::Replay::kInMemory).has_error());
    }
  }
  std::cout << failures << " failures, each one final\n";
  EXPECT_GT(failures, 10U);
}

TEST_P(BulkWriterCrash, FailingSyncFailsSeal) {
  for (std::size_t number = 0; number < 3; ++number) {
    const auto file = std::make_shared<CrashFile>();
    file->fail_sync(number);
    auto writer = bringing_.start(file);
    ASSERT_TRUE(succeeded(writer));
    for (const auto& operation : disk_.operations((*writer)->plan(), random_)) {
      ASSERT_TRUE(succeeded(disk_.apply(**writer, operation)));
    }
    EXPECT_TRUE(test::failed_with((*writer)->seal(), BaseErrc::kInjected));
    EXPECT_TRUE(test::failed_with((*writer)->seal(), BaseErrc::kInjected));
  }
}

INSTANTIATE_TEST_SUITE_P(All, BulkWriterCrash,
                         testing::Values(DiskType::kFixed, DiskType::kDynamic,
                                         DiskType::kDifferencing),
                         [](const auto& param) { return std::string(to_string(param.param)); });

}  // namespace
}  // namespace vhdxm::vhdx
