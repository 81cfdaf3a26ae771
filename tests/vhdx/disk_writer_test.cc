// A disk in use: what a write, a zeroing and a trim make of every kind of block, from one thread
// and from many; what goes through the log; what of the file is used again.
#include "vhdx/disk_writer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>
#include <thread>

#include "base/directory.h"
#include "tests/support/crash_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/temp_folder.h"
#include "tests/support/vhdx_builder.h"
#include "tests/support/writable_disk.h"
#include "vhdx/bat.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/check.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using test::failed_with;
using test::kTornUnitBytes;
using test::succeeded;
using test::VhdxBuilder;
using test::WritableDisk;
using test::WriteHistory;

std::vector<std::byte> filled(std::uint64_t length, std::uint8_t value) {
  return std::vector<std::byte>(static_cast<std::size_t>(length), std::byte{value});
}

void expect_clean(const std::shared_ptr<File>& file) {
  const auto report = check(file);
  ASSERT_TRUE(succeeded(report));
  for (const Finding& finding : report->findings) {
    EXPECT_EQ(finding.severity, Finding::Severity::kNote) << finding.rule << " " << finding.what;
  }
}

/// Every byte of [offset, + length) reads as `value`.
template <class Disk>
void expect_reads(Disk& disk, std::uint64_t offset, std::uint64_t length, std::uint8_t value) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(length));
  ASSERT_TRUE(succeeded(disk.read(offset, bytes)));
  EXPECT_TRUE(bytes == filled(length, value)) << "at " << offset;
}

PayloadState state_of(const std::shared_ptr<File>& file, std::uint64_t block) {
  auto layer = Layer::open(file, Layer::Replay::kInMemory);
  EXPECT_TRUE(succeeded(layer));
  std::array<PayloadState, 1> state{};
  EXPECT_TRUE(succeeded((*layer)->payload_states(block, state)));
  return state[0];
}

class DiskWriterModel : public testing::TestWithParam<test::DiskKind> {};

/// Operations of the model test: some thousands, or as many as VHDXM_MODEL_OPERATIONS says.
int model_operations() {
  const char* text = std::getenv("VHDXM_MODEL_OPERATIONS");
  return text == nullptr ? 4000 : std::stoi(text);
}

TEST_P(DiskWriterModel, RandomOperationsDoWhatAnArrayWouldDo) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  const WritableDisk made(GetParam());
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  std::vector<std::set<std::uint32_t>> tags;
  for (const std::uint32_t tag : made.tags()) tags.push_back({tag});
  std::vector<std::byte> bytes(16 * kTornUnitBytes);
  const auto expect_units = [&](DiskWriter& disk, std::uint64_t first, std::uint64_t count) {
    const auto range = std::span(bytes).first(static_cast<std::size_t>(count * kTornUnitBytes));
    ASSERT_TRUE(succeeded(disk.read(first * kTornUnitBytes, range)));
    for (std::uint64_t i = 0; i < count; ++i) {
      auto& allowed = tags[static_cast<std::size_t>(first + i)];
      const auto tag = test::tag_of(
          range.subspan(static_cast<std::size_t>(i * kTornUnitBytes), kTornUnitBytes), first + i);
      ASSERT_TRUE(tag.has_value()) << "unit " << first + i;
      ASSERT_TRUE(allowed.contains(*tag)) << "unit " << first + i << " holds " << *tag;
      allowed = {*tag};  // what a trim left is stable
    }
  };
  std::unique_ptr<DiskWriter> disk;
  for (int i = 0; i < model_operations(); ++i) {
    if (disk == nullptr || random() % 200 == 0) {
      if (disk != nullptr) {
        ASSERT_TRUE(succeeded(disk->close()));
      }
      disk.reset();
      expect_clean(file);
      auto opened = made.open(file);
      ASSERT_TRUE(succeeded(opened));
      disk = std::move(*opened);
    }
    const auto operation =
        test::random_operation(made.geometry(), static_cast<std::uint32_t>(i + 1), random);
    ASSERT_TRUE(succeeded(test::apply(*disk, operation)));
    const auto event = test::event_of(operation, 0, 0);
    for (std::uint64_t unit = event.first; unit < event.first + event.count; ++unit) {
      if (event.kind == WriteHistory::Kind::kWrite) tags[static_cast<std::size_t>(unit)].clear();
      tags[static_cast<std::size_t>(unit)].insert(event.tag);
    }
    const std::uint64_t sector_units = GetParam().sector_bytes / kTornUnitBytes;
    const std::uint64_t around = event.count != 0 ? event.first : random() % tags.size();
    const std::uint64_t first = around / sector_units * sector_units;
    expect_units(*disk, first, std::min<std::uint64_t>(16, tags.size() - first));
    if (HasFatalFailure()) return;
  }
  for (std::uint64_t unit = 0; unit < tags.size(); unit += 16) {
    expect_units(*disk, unit, std::min<std::uint64_t>(16, tags.size() - unit));
  }
  ASSERT_TRUE(succeeded(disk->close()));
  expect_clean(file);
}

TEST_P(DiskWriterModel, ManyThreadsEachFindWhatTheyWrote) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  const WritableDisk made(GetParam());
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  auto disk = made.open(file);
  ASSERT_TRUE(succeeded(disk));
  constexpr unsigned kThreads = 6;
  const std::uint64_t sector = GetParam().sector_bytes;
  const std::uint64_t sectors = made.geometry().virtual_size_bytes / sector;
  // Sector s belongs to thread s % kThreads: neighbours in a block, a bitmap byte, a BAT page are
  // of different threads.
  const auto work = [&](unsigned number) {
    std::mt19937_64 random(seed + number);
    std::map<std::uint64_t, std::uint32_t> mine;
    std::vector<std::byte> bytes(static_cast<std::size_t>(sector));
    for (std::uint32_t i = 1; i <= 300; ++i) {
      const std::uint64_t at = random() % (sectors / kThreads) * kThreads + number;
      const std::uint64_t unit = at * sector / kTornUnitBytes;
      const bool zero = random() % 5 == 0;
      const std::uint32_t tag = zero ? 0 : number << 20 | i;
      test::fill_tagged(bytes, unit, tag);
      const auto done =
          zero ? (*disk)->write_zeroes(at * sector, sector) : (*disk)->write(at * sector, bytes);
      ASSERT_TRUE(succeeded(done));
      mine[at] = tag;
      if (random() % 16 == 0) {
        ASSERT_TRUE(succeeded((*disk)->flush()));
      }
      const auto some =
          std::next(mine.begin(), static_cast<std::ptrdiff_t>(random() % mine.size()));
      ASSERT_TRUE(succeeded((*disk)->read(some->first * sector, bytes)));
      ASSERT_EQ(test::tag_of(std::span(bytes).first(kTornUnitBytes),
                             some->first * sector / kTornUnitBytes),
                some->second);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned number = 0; number < kThreads; ++number) threads.emplace_back(work, number);
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(succeeded((*disk)->close()));
  expect_clean(file);
}

// Whole blocks come and go under threads that hit the same block from all sides.
TEST_P(DiskWriterModel, ThreadsThatShareABlockLeaveOneOfTheirWords) {
  const WritableDisk made(GetParam(), 3);
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  auto disk = made.open(file);
  ASSERT_TRUE(succeeded(disk));
  const std::uint64_t sector = GetParam().sector_bytes;
  const auto work = [&](unsigned number) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(4 * sector));
    for (std::uint32_t i = 1; i <= 100; ++i) {
      const std::uint64_t at = (i + number) % 7 * sector;
      test::fill_tagged(bytes, at / kTornUnitBytes, number << 20 | i);
      ASSERT_TRUE(succeeded((*disk)->write(at, bytes)));
      if (i % 3 == number % 3) {
        ASSERT_TRUE(succeeded((*disk)->trim(0, kMiB)));
      }
      if (i % 5 == 0) {
        ASSERT_TRUE(succeeded((*disk)->write_zeroes(0, kMiB)));
      }
      if (i % 4 == 0) {
        ASSERT_TRUE(succeeded((*disk)->flush()));
      }
      ASSERT_TRUE(succeeded((*disk)->read(at, std::span(bytes).first(sector))));
      ASSERT_TRUE(
          test::tag_of(std::span(bytes).first(kTornUnitBytes), at / kTornUnitBytes).has_value());
    }
  };
  std::vector<std::thread> threads;
  for (unsigned number = 1; number <= 4; ++number) threads.emplace_back(work, number);
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(succeeded((*disk)->close()));
  expect_clean(file);
}

INSTANTIATE_TEST_SUITE_P(All, DiskWriterModel, testing::ValuesIn(test::all_disk_kinds()),
                         [](const auto& param) { return test::to_string(param.param); });

constexpr test::DiskKind kDynamic{DiskType::kDynamic, 512};
constexpr test::DiskKind kChild{DiskType::kDifferencing, 512};
constexpr test::DiskKind kFixed{DiskType::kFixed, 512};

TEST(DiskWriter, ManyAllocationsShareOneEntryAndTwoFlushes) {
  const WritableDisk made(kDynamic, 600);
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  auto disk = made.open(file);
  ASSERT_TRUE(succeeded(disk));
  ASSERT_TRUE(succeeded((*disk)->write(0, filled(512, 1))));
  ASSERT_TRUE(succeeded((*disk)->flush()));
  const auto before = (*disk)->counters();
  for (std::uint64_t block = 1; block < 600; ++block) {
    ASSERT_TRUE(succeeded((*disk)->write(block * kMiB, filled(512, 2))));
  }
  ASSERT_TRUE(succeeded((*disk)->flush()));
  const auto after = (*disk)->counters();
  EXPECT_EQ(after.allocated_blocks - before.allocated_blocks, 599U);
  EXPECT_EQ(after.journal.commits - before.journal.commits, 1U);
  EXPECT_EQ(after.journal.flushes - before.journal.flushes, 2U);
  EXPECT_EQ(after.journal.pages_logged - before.journal.pages_logged, 2U);  // 600 of 512 a page
  ASSERT_TRUE(succeeded((*disk)->flush()));
  EXPECT_EQ((*disk)->counters().journal.flushes - after.journal.flushes, 1U) << "nothing to log";
}

TEST(DiskWriter, GuidsChangeOnceASessionAndOnlyWithAWrite) {
  const WritableDisk made(kDynamic);
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  const auto before = select_header(*file);
  ASSERT_TRUE(succeeded(before));
  std::vector<std::byte> sector(512);
  {
    auto disk = made.open(file);
    ASSERT_TRUE(succeeded(disk));
    ASSERT_TRUE(succeeded((*disk)->read(0, sector)));
    ASSERT_TRUE(succeeded((*disk)->flush()));
    ASSERT_TRUE(succeeded((*disk)->close()));
  }
  EXPECT_EQ(*select_header(*file), *before) << "a session without a write changes nothing";
  auto disk = made.open(file);
  ASSERT_TRUE(succeeded((*disk)->write(0, filled(512, 1))));
  const auto during = select_header(*file);
  EXPECT_NE(during->file_write_guid, before->file_write_guid);
  EXPECT_NE(during->data_write_guid, before->data_write_guid);
  ASSERT_TRUE(succeeded((*disk)->write(kMiB, filled(512, 1))));
  ASSERT_TRUE(succeeded((*disk)->flush()));
  EXPECT_FALSE(select_header(*file)->log_guid.is_zero());
  ASSERT_TRUE(succeeded((*disk)->close()));
  const auto after = select_header(*file);
  EXPECT_TRUE(after->log_guid.is_zero());
  EXPECT_EQ(after->file_write_guid, during->file_write_guid);
  EXPECT_EQ(after->data_write_guid, during->data_write_guid);
}

TEST(DiskWriter, WhatAProcessThatDiedLeftIsReplayedAndKeepsItsIdentity) {
  const WritableDisk made(kDynamic);
  const auto file = std::make_shared<test::CrashFile>(made.file());
  auto disk = made.open(file);
  ASSERT_TRUE(succeeded((*disk)->write(2 * kMiB, filled(512, 7))));
  ASSERT_TRUE(succeeded((*disk)->flush()));
  std::mt19937_64 random(1);
  const std::size_t count = file->operation_count();
  // As if nothing that followed the last flush had reached the disk: the entry in place above all.
  const auto left = file->after(
      {.operations = count, .fates = std::vector(count, test::CrashFile::Fate::kLost)}, random);
  const auto guid = select_header(*left)->data_write_guid;
  EXPECT_FALSE(select_header(*left)->log_guid.is_zero());
  auto again = made.open(left);
  ASSERT_TRUE(succeeded(again));
  expect_reads(**again, 2 * kMiB, 512, 7);
  EXPECT_EQ(select_header(*left)->data_write_guid, guid);
  EXPECT_TRUE(select_header(*left)->log_guid.is_zero());
}

TEST(DiskWriter, AChildHidesItsParentWhereItWasWrittenZeroedOrTrimmed) {
  const WritableDisk made(kChild);
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  auto disk = made.open(file);
  ASSERT_TRUE(succeeded(disk));
  std::vector<std::byte> unit(kTornUnitBytes);
  const auto tag_at = [&](std::uint64_t number) {
    EXPECT_TRUE(succeeded((*disk)->read(number * kTornUnitBytes, unit)));
    return test::tag_of(unit, number);
  };
  const std::uint32_t parent = made.tags()[0];
  ASSERT_NE(parent, 0U);
  // A sector: the parent shows around it.
  test::fill_tagged(unit, 1, 5);
  ASSERT_TRUE(succeeded((*disk)->write(kTornUnitBytes, unit)));
  EXPECT_EQ(tag_at(0), parent);
  EXPECT_EQ(tag_at(1), 5U);
  EXPECT_EQ(tag_at(2), parent);
  // A sector of zeros hides what is behind it.
  ASSERT_TRUE(succeeded((*disk)->write_zeroes(2 * kTornUnitBytes, kTornUnitBytes)));
  EXPECT_EQ(tag_at(2), 0U);
  EXPECT_EQ(tag_at(3), parent);
  // Zeroed whole, then written: zeros around it, not the parent.
  ASSERT_TRUE(succeeded((*disk)->write_zeroes(0, kMiB)));
  EXPECT_EQ(tag_at(0), 0U);
  test::fill_tagged(unit, 3, 6);
  ASSERT_TRUE(succeeded((*disk)->write(3 * kTornUnitBytes, unit)));
  EXPECT_EQ(tag_at(3), 6U);
  EXPECT_EQ(tag_at(4), 0U);
  // Trimmed whole: not the parent either.
  const std::uint64_t block_units = kMiB / kTornUnitBytes;
  EXPECT_EQ(tag_at(2 * block_units), parent);
  ASSERT_TRUE(succeeded((*disk)->trim(2 * kMiB, kMiB)));
  EXPECT_EQ(tag_at(2 * block_units), 0U);
  ASSERT_TRUE(succeeded((*disk)->close()));
  EXPECT_EQ(state_of(file, 0), PayloadState::kFullyPresent);
  EXPECT_EQ(state_of(file, 2), PayloadState::kUnmapped);
  expect_clean(file);
}

TEST(DiskWriter, BitsFromAnEarlierLifeOfABlockShowNothing) {
  const WritableDisk made(kChild);
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  {
    auto disk = made.open(file);
    ASSERT_TRUE(succeeded((*disk)->write(0, filled(64 * 512, 9))));
    ASSERT_TRUE(succeeded((*disk)->close()));
  }
  // Another program made the block NOT_PRESENT and left its bits set (2.5.1.1 forbids that).
  auto layer = Layer::open(file, Layer::Replay::kInMemory);
  ASSERT_TRUE(succeeded(layer));
  ASSERT_TRUE(succeeded(file->write_at((*layer)->bat().entry_offset(0), filled(8, 0))));
  auto disk = made.open(file);
  ASSERT_TRUE(succeeded(disk));
  ASSERT_TRUE(succeeded((*disk)->write(100 * 512, filled(512, 3))));
  std::vector<std::byte> unit(kTornUnitBytes);
  ASSERT_TRUE(succeeded((*disk)->read(0, unit)));
  EXPECT_EQ(test::tag_of(unit, 0), made.tags()[0]);
}

TEST(DiskWriter, SpaceIsUsedAgainOnceItsFreeingIsDurable) {
  const WritableDisk made(kDynamic);
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  auto disk = made.open(file);
  for (std::uint64_t block = 0; block < 5; ++block) {
    ASSERT_TRUE(succeeded((*disk)->write(block * kMiB, filled(kMiB, 1))));
  }
  ASSERT_TRUE(succeeded((*disk)->flush()));
  const auto map_of = [&](std::uint64_t offset) {
    auto layer = Layer::open(file, Layer::Replay::kInMemory);
    std::vector<Extent> extents;
    EXPECT_TRUE(succeeded((*layer)->map(offset, 512, extents)));
    return extents.at(0).file_offset;
  };
  const std::uint64_t place = map_of(kMiB);
  ASSERT_TRUE(succeeded((*disk)->trim(kMiB, kMiB)));
  ASSERT_TRUE(succeeded((*disk)->write(kMiB, filled(512, 2))));
  ASSERT_TRUE(succeeded((*disk)->flush()));
  EXPECT_NE(map_of(kMiB), place) << "the freeing was not durable yet";
  ASSERT_TRUE(succeeded((*disk)->trim(2 * kMiB, kMiB)));
  ASSERT_TRUE(succeeded((*disk)->flush()));
  ASSERT_TRUE(succeeded((*disk)->write(2 * kMiB + 512, filled(512, 3))));
  ASSERT_TRUE(succeeded((*disk)->flush()));
  EXPECT_EQ(map_of(2 * kMiB), place);
  // What its last owner left does not show.
  expect_reads(**disk, 2 * kMiB, 512, 0);
  expect_reads(**disk, 2 * kMiB + 512, 512, 3);
  expect_reads(**disk, 2 * kMiB + 1024, kMiB - 1024, 0);
  for (int round = 0; round < 50; ++round) {
    ASSERT_TRUE(succeeded((*disk)->trim(0, 5 * kMiB)));
    ASSERT_TRUE(succeeded((*disk)->flush()));
    for (std::uint64_t block = 0; block < 5; ++block) {
      ASSERT_TRUE(succeeded((*disk)->write(block * kMiB, filled(4096, 1))));
    }
  }
  ASSERT_TRUE(succeeded((*disk)->close()));
  EXPECT_LE(*file->size(), 15 * kMiB) << "the file only grew";
  expect_clean(file);
}

TEST(DiskWriter, AFileThatGrewAheadIsCutWhenItIsClosed) {
  const WritableDisk made(kDynamic);
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  const std::uint64_t before = *file->size();
  auto disk = made.open(file);
  ASSERT_TRUE(succeeded((*disk)->write(0, filled(512, 1))));
  ASSERT_TRUE(succeeded((*disk)->close()));
  EXPECT_EQ(*file->size(), before + kMiB);
}

TEST(DiskWriter, AFixedDiskKeepsItsRoom) {
  const WritableDisk made(kFixed);
  const std::shared_ptr<MemoryFile> file = made.file().clone();
  const std::uint64_t before = *file->size();
  auto disk = made.open(file);
  ASSERT_TRUE(succeeded((*disk)->write(0, filled(4096, 1))));
  ASSERT_TRUE(succeeded((*disk)->write_zeroes(512, 512)));
  expect_reads(**disk, 512, 512, 0);
  expect_reads(**disk, 1024, 512, 1);
  ASSERT_TRUE(succeeded((*disk)->write_zeroes(0, kMiB)));
  expect_reads(**disk, 0, kMiB, 0);
  ASSERT_TRUE(succeeded((*disk)->trim(0, 2 * kMiB)));
  ASSERT_TRUE(succeeded((*disk)->close()));
  EXPECT_EQ(*file->size(), before);
  EXPECT_EQ(state_of(file, 0), PayloadState::kFullyPresent);
}

TEST(DiskWriter, RangesThatAreNoSectorsOfTheDiskAreRefused) {
  const WritableDisk made({DiskType::kDynamic, 4096});
  auto disk = made.open(made.file().clone());
  const std::uint64_t size = made.geometry().virtual_size_bytes;
  for (const auto& [offset, length] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {512, 4096}, {0, 512}, {size, 4096}, {size - 4096, 8192}, {~0ULL - 4095, 4096}}) {
    EXPECT_TRUE(failed_with((*disk)->write(offset, filled(length, 1)), BaseErrc::kInvalidArgument));
    EXPECT_TRUE(failed_with((*disk)->write_zeroes(offset, length), BaseErrc::kInvalidArgument));
    EXPECT_TRUE(failed_with((*disk)->trim(offset, length), BaseErrc::kInvalidArgument));
  }
  EXPECT_TRUE(succeeded((*disk)->write(size, {})));
  ASSERT_TRUE(succeeded((*disk)->close()));
  EXPECT_TRUE(failed_with((*disk)->flush(), Errc::kClosed));
  EXPECT_TRUE(failed_with((*disk)->close(), Errc::kClosed));
}

TEST(DiskWriter, AFileWithBlocksInOnePlaceIsReadButNotWritten) {
  VhdxBuilder built(VhdxBuilder::Options{});
  built.add_block(0, 1);
  auto layer = Layer::open(built.file(), Layer::Replay::kInMemory);
  ASSERT_TRUE(succeeded(layer));
  built.set_block(3, 4 * kMiB | 6);
  ASSERT_TRUE(succeeded(Layer::open(built.file(), Layer::Replay::kInMemory)));
  built.set_block(0, 4 * kMiB | 6);
  const auto before = *select_header(*built.file());
  auto disk = DiskWriter::over(built.file(), {}, {});
  ASSERT_TRUE(succeeded(disk));
  std::vector<std::byte> bytes(512);
  EXPECT_TRUE(succeeded((*disk)->read(0, bytes)));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(failed_with((*disk)->write(0, bytes), Errc::kOverlap, "cannot be written"));
  }
  EXPECT_EQ(*select_header(*built.file()), before);
}

TEST(DiskWriter, RoomThatAnAbsentBlockKeepsIsItsOwn) {
  VhdxBuilder built(VhdxBuilder::Options{});
  built.add_block(0, 1);
  const std::uint64_t kept = built.allocate(kMiB);
  built.fill(kept, kMiB, 0xee);
  built.set_block(2, kept | 3);  // UNMAPPED, with a place
  auto disk = DiskWriter::over(built.file(), {}, {});
  ASSERT_TRUE(succeeded(disk));
  for (const std::uint64_t block : {3U, 4U}) {
    ASSERT_TRUE(succeeded((*disk)->write(block * kMiB, filled(512, 1))));
  }
  expect_reads(**disk, 2 * kMiB, kMiB, 0);
  ASSERT_TRUE(succeeded((*disk)->write(2 * kMiB, filled(512, 5))));
  expect_reads(**disk, 2 * kMiB + 512, kMiB - 512, 0);
  ASSERT_TRUE(succeeded((*disk)->close()));
  auto layer = Layer::open(built.file(), Layer::Replay::kInMemory);
  std::vector<Extent> extents;
  ASSERT_TRUE(succeeded((*layer)->map(2 * kMiB, 512, extents)));
  EXPECT_EQ(extents.at(0).file_offset, kept);
}

TEST(DiskWriter, AFileWithoutALogGetsOne) {
  VhdxBuilder built(VhdxBuilder::Options{});
  for (const int i : {0, 1}) {
    built.put32(VhdxBuilder::kHeaderAt[i] + VhdxBuilder::kHeaderLogLength, 0);
    built.seal_header(i);
  }
  auto disk = DiskWriter::over(built.file(), {}, {});
  ASSERT_TRUE(succeeded(disk));
  ASSERT_TRUE(succeeded((*disk)->write(0, filled(512, 5))));
  ASSERT_TRUE(succeeded((*disk)->flush()));
  EXPECT_EQ(select_header(*built.file())->log_length, kMiB);
  ASSERT_TRUE(succeeded((*disk)->close()));
  EXPECT_FALSE(check(built.file())->corrupt());
}

class DiskWriterLocks : public testing::Test {
 protected:
  DiskWriterLocks() {
    auto folder = Directory::open(folder_.path());
    auto file = (*folder)->create_file("disk.vhdx", false);
    Description description;
    description.geometry = {.virtual_size_bytes = 8 * kMiB, .block_bytes = 1 << 20};
    EXPECT_TRUE(succeeded(create(std::move(*file), description)));
  }
  const test::TempFolder folder_;
  const std::string path_ = folder_ / "disk.vhdx";
};

TEST_F(DiskWriterLocks, ASecondWriterIsRefused) {
  auto first = DiskWriter::open(path_, {});
  ASSERT_TRUE(succeeded(first));
  EXPECT_TRUE(failed_with(DiskWriter::open(path_, {}), Errc::kInUse, "disk.vhdx"));
  first->reset();
  EXPECT_TRUE(succeeded(DiskWriter::open(path_, {})));
}

TEST_F(DiskWriterLocks, AWriterShowsAsOneToWhoWouldSendTheDisk) {
  auto writer = DiskWriter::open(path_, {});
  ASSERT_TRUE(succeeded(writer));
  const auto file = PosixFile::open(path_, {});
  EXPECT_TRUE((*file)->is_written_by_qemu().value());
}

}  // namespace
}  // namespace vhdxm::vhdx
