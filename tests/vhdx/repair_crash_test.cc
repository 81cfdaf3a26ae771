// Power losses during a repair and during its undoing: the disk is readable or can be repaired, to
// the same content, and the backup leads back to the file as it was.
#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <random>

#include "tests/support/crash_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/repair_oracle.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/layer.h"
#include "vhdx/repair.h"
#include "vhdx/repair_backup.h"

namespace vhdxm::vhdx {
namespace {

using test::copy_of;
using test::CrashFile;
using test::random_seed;
using test::repeat_with;
using test::same_bytes;
using test::same_disk;
using test::succeeded;
using test::VhdxBuilder;
using B = VhdxBuilder;

constexpr Guid kLogGuid = guid_literal("10910910-9109-1091-0910-910910910910");
constexpr Guid kOther = guid_literal("12345678-1234-1234-1234-123456789abc");

/// A disk in which everything is wrong that a repair mends and that can be wrong together.
B broken_disk(bool has_log) {
  B disk({.log_guid = has_log ? kLogGuid : Guid{},
          .locator = {{{"parent_linkage", test::braced(kOther)}, {"relative_path", "p.vhdx"}}}});
  disk.add_bitmap(0);
  disk.set_bits(2048, 2051);
  const std::uint64_t partial = disk.allocate(kMiB);
  disk.fill(partial, 8192, 0x11);
  disk.set_block(1, partial | 7);
  const std::uint64_t full = disk.allocate(kMiB);
  disk.fill(full + 5000, 20000, 0x44);
  disk.set_block(4, full | 6);
  disk.set_block(0, 77 * kMiB);
  disk.set_block(2, 900 * kMiB | 3);
  disk.set_block(8, 1);
  disk.fill(disk.allocate(2 * kMiB) + 4000, 9000, 0x99);
  if (has_log) {
    const std::vector<std::byte> bat = disk.get(B::kBatAt, 4096);
    disk.fill(B::kBatAt, 64, 0xee);
    disk.add_log_entry(0,
                       {.sequence_number = 5,
                        .flushed_file_offset = disk.size(),
                        .last_file_offset = disk.size() + kMiB,
                        .descriptors = {{.file_offset = B::kBatAt, .sector = bat},
                                        {.file_offset = B::kBatAt + 4096, .zero_length = 8192}}});
  }
  disk.fill(B::kRegionTableAt[0] + 512, 512, 0x22);
  disk.fill(B::kHeaderAt[0] + 1024, 512, 0x33);
  return disk;
}

B ambiguous_disk() {
  B disk = broken_disk(false);
  for (const int slot : {0, 1}) {
    disk.fill(B::kHeaderAt[slot] + 80, 4096 - 80, 0);
    disk.put64(B::kHeaderAt[slot] + B::kHeaderSequence, 5);
    disk.put_guid(B::kHeaderAt[slot] + B::kHeaderFileWriteGuid, slot == 0 ? kLogGuid : kOther);
    disk.seal_header(slot);
  }
  return disk;
}

std::shared_ptr<CrashFile> recorded(MemoryFile& from) {
  auto file = std::make_shared<CrashFile>(from.name());
  EXPECT_TRUE(succeeded(file->resize(*from.size())));
  std::vector<std::byte> bytes(4096);
  for (std::uint64_t at = 0; at < *from.size(); at += bytes.size()) {
    if (from.next_data(at)->begin != at) continue;
    const std::size_t got = *from.read_some_at(at, bytes);
    EXPECT_TRUE(succeeded(file->write_at(at, std::span(bytes).first(got))));
  }
  EXPECT_TRUE(succeeded(file->sync()));
  return file;
}

class RepairCrash : public testing::TestWithParam<int> {
 protected:
  RepairCrash() { std::cout << repeat_with(seed_) << "\n"; }

  static B make() { return GetParam() == 2 ? ambiguous_disk() : broken_disk(GetParam() == 1); }

  /// What a user can do after a crash: open it, or repair it and open it.
  void expect_content(const std::shared_ptr<MemoryFile>& left) {
    if (!Layer::open(left, Layer::Replay::kInMemory).has_error()) {
      ASSERT_TRUE(same_disk(left, repaired_));
    }
    const auto again = plan_repair(left);
    ASSERT_TRUE(succeeded(again));
    ASSERT_FALSE(again->obstacle) << describe(*again->obstacle);
    if (!again->mends.empty()) {
      ASSERT_TRUE(succeeded(again->apply(*left)));
    }
    ASSERT_TRUE(same_disk(left, repaired_));
  }

  void expect_undone(const std::shared_ptr<MemoryFile>& left) {
    const auto undone = undo_repair(*left, backup_);
    ASSERT_TRUE(succeeded(undone));
    ASSERT_TRUE(same_bytes(*left, *original_));
  }

  const std::uint64_t seed_ = random_seed();
  std::mt19937_64 random_{seed_};
  const std::shared_ptr<MemoryFile> original_ = make().file();
  std::shared_ptr<MemoryFile> repaired_;
  MemoryFile backup_;
};

TEST_P(RepairCrash, LeavesWhatCanBeReadOrRepairedAndUndone) {
  const auto file = recorded(*original_);
  const std::size_t before = file->operation_count();
  const auto plan = plan_repair(file);
  ASSERT_TRUE(succeeded(plan));
  ASSERT_FALSE(plan->mends.empty());
  ASSERT_TRUE(succeeded(write_repair_backup(*plan, backup_)));
  ASSERT_EQ(file->operation_count(), before);
  ASSERT_TRUE(succeeded(plan->apply(*file)));
  repaired_ = copy_of(*file);

  std::size_t states = 0;
  file->for_each_crash(10, random_, [&](const CrashFile::Crash& crash) {
    if (HasFatalFailure() || crash.operations < before) return;
    SCOPED_TRACE(crash.describe());
    const auto left = file->after(crash, random_);
    expect_undone(copy_of(*left));
    if (!HasFatalFailure()) expect_content(left);
    ++states;
  });
  std::cout << states << " crash states\n";
  EXPECT_GT(states, 300U);
}

TEST_P(RepairCrash, OfAnUndoLeavesWhatCanBeUndoneAgain) {
  const auto plan = plan_repair(copy_of(*original_));
  ASSERT_TRUE(succeeded(plan));
  ASSERT_TRUE(succeeded(write_repair_backup(*plan, backup_)));
  repaired_ = copy_of(*original_);
  ASSERT_TRUE(succeeded(plan->apply(*repaired_)));
  const auto file = recorded(*repaired_);
  const std::size_t before = file->operation_count();
  ASSERT_TRUE(succeeded(undo_repair(*file, backup_)));

  std::size_t states = 0;
  file->for_each_crash(10, random_, [&](const CrashFile::Crash& crash) {
    if (HasFatalFailure() || crash.operations < before) return;
    SCOPED_TRACE(crash.describe());
    expect_undone(file->after(crash, random_));
    ++states;
  });
  std::cout << states << " crash states\n";
  EXPECT_GT(states, 50U);
}

TEST_P(RepairCrash, FailsIfAnyWriteOrFlushFailsAndCanBeUndone) {
  for (std::size_t number = 0;; ++number) {
    const auto file = recorded(*original_);
    const auto plan = plan_repair(file);
    ASSERT_TRUE(succeeded(plan));
    MemoryFile backup;
    ASSERT_TRUE(succeeded(write_repair_backup(*plan, backup)));
    file->fail_operation(file->operation_count() + number);
    const auto applied = plan->apply(*file);
    if (applied.has_value()) break;
    ASSERT_EQ(applied.error().code, BaseErrc::kInjected);
    ASSERT_TRUE(succeeded(undo_repair(*file, backup)));
    ASSERT_TRUE(same_bytes(*file, *original_)) << number;
  }
}

INSTANTIATE_TEST_SUITE_P(Disks, RepairCrash, testing::Values(0, 1, 2));

}  // namespace
}  // namespace vhdxm::vhdx
