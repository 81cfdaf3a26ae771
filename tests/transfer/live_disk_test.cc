// A disk in use: what it holds, what of it is marked, and what the gate does to its writes.
#include "transfer/live_disk.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/temp_folder.h"
#include "tests/support/watched_file.h"
#include "tests/support/writable_disk.h"
#include "vhdx/errc.h"

namespace vhdxm::transfer {
namespace {

using test::failed_with;
using test::succeeded;
using test::WritableDisk;
using Durability = LiveDisk::Durability;
using Zeroing = LiveDisk::Zeroing;
using vhdx::ExtentKind;

constexpr std::uint64_t kBlock = 1024 * 1024;
constexpr std::uint64_t kAll = ~std::uint64_t{0};

std::vector<std::byte> filled(std::uint64_t length, std::uint8_t value) {
  return std::vector<std::byte>(static_cast<std::size_t>(length), std::byte{value});
}

/// A disk in memory, and the gate that it shares with nobody.
struct MemoryDisk {
  explicit MemoryDisk(const test::DiskKind& kind) : made(kind), file(made.file().clone()) {
    auto writer = made.open(file);
    EXPECT_TRUE(succeeded(writer));
    disk = std::make_unique<LiveDisk>(std::move(*writer), gate);
  }

  std::vector<std::byte> content() {
    std::vector<std::byte> bytes(static_cast<std::size_t>(disk->size_bytes()));
    EXPECT_TRUE(succeeded(disk->read(0, bytes)));
    return bytes;
  }

  WritableDisk made;
  std::shared_ptr<MemoryFile> file;
  std::shared_ptr<SharedGate> gate = std::make_shared<SharedGate>();
  std::unique_ptr<LiveDisk> disk;
};

class LiveDiskOfKind : public testing::TestWithParam<test::DiskKind> {};

TEST_P(LiveDiskOfKind, MarksWhatIsChangedWhileWritesAreTracked) {
  MemoryDisk made(GetParam());
  LiveDisk& disk = *made.disk;
  ASSERT_TRUE(succeeded(disk.write(0, filled(4096, 1), Durability::kAtFlush)));
  EXPECT_EQ(disk.dirty().take(0, kAll), std::nullopt) << "not tracked yet";
  made.gate->start_tracking();
  ASSERT_TRUE(succeeded(disk.write(8192, filled(4096, 2), Durability::kNow)));
  EXPECT_EQ(disk.dirty().take(0, kAll), (DirtyRange{8192, 4096}));
  ASSERT_TRUE(
      succeeded(disk.write_zeroes(kBlock, kBlock, Zeroing::kMayTrim, Durability::kAtFlush)));
  EXPECT_EQ(disk.dirty().take(0, kAll), (DirtyRange{kBlock, kBlock}));
  ASSERT_TRUE(succeeded(disk.trim(2 * kBlock, kBlock, Durability::kAtFlush)));
  EXPECT_EQ(disk.dirty().take(0, kAll), (DirtyRange{2 * kBlock, kBlock}));
  made.gate->stop_tracking();
  ASSERT_TRUE(succeeded(disk.write(0, filled(4096, 3), Durability::kAtFlush)));
  EXPECT_EQ(disk.dirty().dirty_pages(), 0U);
}

TEST_P(LiveDiskOfKind, ReadsAnyRangeOfBytesAndWritesWholeSectors) {
  MemoryDisk made(GetParam());
  LiveDisk& disk = *made.disk;
  const std::uint64_t sector = GetParam().sector_bytes;
  auto bytes = filled(4 * sector, 0);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(i % 251);
  ASSERT_TRUE(succeeded(disk.write(0, bytes, Durability::kAtFlush)));
  std::vector<std::byte> some(static_cast<std::size_t>(sector + 7));
  ASSERT_TRUE(succeeded(disk.read(sector - 3, some)));
  EXPECT_TRUE(std::equal(some.begin(), some.end(), bytes.begin() + (static_cast<int>(sector) - 3)));

  EXPECT_TRUE(failed_with(disk.write(1, filled(sector, 9), Durability::kAtFlush),
                          BaseErrc::kInvalidArgument));
  EXPECT_TRUE(failed_with(disk.write_zeroes(0, 1, Zeroing::kMayTrim, Durability::kAtFlush),
                          BaseErrc::kInvalidArgument));
  EXPECT_TRUE(failed_with(disk.write(disk.size_bytes(), filled(sector, 9), Durability::kAtFlush),
                          BaseErrc::kOutOfRange));
  EXPECT_TRUE(failed_with(disk.read(disk.size_bytes() - 1, some), BaseErrc::kOutOfRange));
  EXPECT_TRUE(failed_with(disk.trim(0, disk.size_bytes() + 1, Durability::kAtFlush),
                          BaseErrc::kOutOfRange));
}

TEST_P(LiveDiskOfKind, ATrimLeavesSectorsAloneThatItHoldsInPart) {
  MemoryDisk made(GetParam());
  LiveDisk& disk = *made.disk;
  ASSERT_TRUE(succeeded(disk.write(0, filled(2 * kBlock, 7), Durability::kAtFlush)));
  ASSERT_TRUE(succeeded(disk.trim(1, kBlock, Durability::kAtFlush)));
  std::vector<std::byte> edge(1);
  ASSERT_TRUE(succeeded(disk.read(0, edge)));
  EXPECT_EQ(edge[0], std::byte{7});
  ASSERT_TRUE(succeeded(disk.read(kBlock, edge)));
  EXPECT_EQ(edge[0], std::byte{7});
}

TEST_P(LiveDiskOfKind, ZeroesThatKeepRoomAreDataAndReadAsZero) {
  MemoryDisk made(GetParam());
  LiveDisk& disk = *made.disk;
  ASSERT_TRUE(succeeded(disk.write(0, filled(2 * kBlock, 7), Durability::kAtFlush)));
  ASSERT_TRUE(
      succeeded(disk.write_zeroes(0, 2 * kBlock, Zeroing::kKeepRoom, Durability::kAtFlush)));
  std::vector<std::byte> bytes(2 * kBlock);
  ASSERT_TRUE(succeeded(disk.read(0, bytes)));
  EXPECT_TRUE(bytes == filled(2 * kBlock, 0));
  std::vector<vhdx::Extent> extents;
  ASSERT_TRUE(succeeded(disk.map(0, 2 * kBlock, extents, 16)));
  ASSERT_EQ(extents.size(), 1U);
  EXPECT_EQ(extents[0].kind, ExtentKind::kData);
}

TEST_P(LiveDiskOfKind, AHeldGateServesReadsAndParksWrites) {
  MemoryDisk made(GetParam());
  LiveDisk& disk = *made.disk;
  made.gate->start_tracking();
  made.gate->hold();
  std::atomic<bool> let_go{false};
  std::thread writer([&] {
    EXPECT_TRUE(succeeded(disk.write(0, filled(4096, 5), Durability::kAtFlush)));
    EXPECT_TRUE(let_go);
  });
  while (made.gate->waiting() != 1) std::this_thread::yield();
  const auto before = made.content();
  EXPECT_NE(before[0], std::byte{5});
  let_go = true;
  made.gate->let_go();
  writer.join();
  EXPECT_EQ(made.content()[0], std::byte{5});
  EXPECT_EQ(disk.dirty().take(0, kAll), (DirtyRange{0, 4096}));
}

TEST_P(LiveDiskOfKind, AFencedGateRefusesWritesAndServesReads) {
  MemoryDisk made(GetParam());
  LiveDisk& disk = *made.disk;
  made.gate->start_tracking();
  ASSERT_TRUE(made.gate->fence(made.gate->hold()));
  const auto before = made.content();
  const auto eperm = boost::system::errc::operation_not_permitted;
  EXPECT_EQ(disk.write(0, filled(4096, 5), Durability::kAtFlush).error().code, eperm);
  EXPECT_EQ(disk.trim(0, 4096, Durability::kAtFlush).error().code, eperm);
  EXPECT_EQ(disk.write_zeroes(0, 4096, Zeroing::kMayTrim, Durability::kAtFlush).error().code,
            eperm);
  EXPECT_TRUE(made.content() == before);
  EXPECT_EQ(disk.dirty().dirty_pages(), 0U);
}

// Guests write, zero and trim; a copier follows the map; then the gate is held, the rest copied.
TEST_P(LiveDiskOfKind, ACopyByTheMapIsTheDisk) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  MemoryDisk made(GetParam());
  LiveDisk& disk = *made.disk;
  std::vector<std::byte> copy(static_cast<std::size_t>(disk.size_bytes()));
  std::atomic<bool> stop{false};
  std::vector<std::thread> guests;
  for (unsigned number = 0; number < 2; ++number) {
    guests.emplace_back([&, number] {
      std::mt19937_64 random(seed + number);
      for (std::uint32_t tag = 1; !stop; ++tag) {
        const auto operation = test::random_operation(made.made.geometry(), tag, random);
        using enum test::DiskOperation::Kind;
        Result<void> done;
        if (operation.kind == kWrite) {
          done = disk.write(operation.offset, filled(operation.length, std::uint8_t(tag)),
                            Durability::kAtFlush);
        } else if (operation.kind == kZero) {
          done = disk.write_zeroes(operation.offset, operation.length,
                                   tag % 2 == 0 ? Zeroing::kMayTrim : Zeroing::kKeepRoom,
                                   Durability::kAtFlush);
        } else if (operation.kind == kTrim) {
          done = disk.trim(operation.offset, operation.length, Durability::kNow);
        } else {
          done = disk.flush();
        }
        ASSERT_TRUE(succeeded(done));
      }
    });
  }
  made.gate->start_tracking();
  ASSERT_TRUE(succeeded(disk.read(0, copy)));  // the first pass
  const auto pass = [&] {
    std::uint64_t from = 0;
    while (const auto range = disk.dirty().take(from, 64 * 1024)) {
      ASSERT_TRUE(succeeded(disk.read(
          range->offset, std::span(copy).subspan(static_cast<std::size_t>(range->offset),
                                                 static_cast<std::size_t>(range->length)))));
      from = range->offset + range->length;
    }
  };
  for (int i = 0; i < 5; ++i) pass();
  const auto hold = made.gate->hold();
  ASSERT_TRUE(made.gate->wait_idle(std::chrono::steady_clock::time_point::max()));
  pass();
  EXPECT_EQ(disk.dirty().dirty_pages(), 0U);
  EXPECT_TRUE(copy == made.content());
  stop = true;
  made.gate->let_go();
  for (std::thread& guest : guests) guest.join();
  EXPECT_FALSE(made.gate->fence(hold)) << "it was let go";
}

INSTANTIATE_TEST_SUITE_P(All, LiveDiskOfKind, testing::ValuesIn(test::all_disk_kinds()),
                         [](const auto& one) { return test::to_string(one.param); });

using Change = test::WatchedFile::Change;

/// A disk in memory whose file tells of its changes. Blocks 0 and 1 have their place already.
struct WatchedDisk {
  WatchedDisk() {
    auto writer = made.open(file);
    EXPECT_TRUE(succeeded(writer));
    disk = std::make_unique<LiveDisk>(std::move(*writer), gate);
    EXPECT_TRUE(succeeded(disk->write(0, filled(2 * kBlock, 1), Durability::kNow)));
    gate->start_tracking();
  }

  const WritableDisk made{{.type = vhdx::DiskType::kDynamic, .sector_bytes = 512}};
  std::shared_ptr<test::WatchedFile> file =
      std::make_shared<test::WatchedFile>(made.file().clone());
  std::shared_ptr<SharedGate> gate = std::make_shared<SharedGate>();
  std::unique_ptr<LiveDisk> disk;
};

// Marked before, it could be taken and read by a copier before the bytes are there.
TEST(LiveDisk, IsMarkedWhenTheImageHasIt) {
  int changes = 0;
  WatchedDisk made;  // tells of changes when it goes, too
  made.file->watch([&](Change change) -> Result<void> {
    if (change == Change::kSync) return {};
    ++changes;
    EXPECT_EQ(made.disk->dirty().dirty_pages(), 0U);
    return {};
  });
  ASSERT_TRUE(succeeded(made.disk->write(4096, filled(8192, 2), Durability::kAtFlush)));
  EXPECT_EQ(made.disk->dirty().take(0, kAll), (DirtyRange{4096, 8192}));
  ASSERT_TRUE(succeeded(made.disk->write_zeroes(0, 4096, Zeroing::kMayTrim, Durability::kAtFlush)));
  EXPECT_EQ(made.disk->dirty().take(0, kAll), (DirtyRange{0, 4096}));
  ASSERT_TRUE(succeeded(made.disk->trim(kBlock, 4096, Durability::kAtFlush)));
  EXPECT_EQ(made.disk->dirty().take(0, kAll), (DirtyRange{kBlock, 4096}));
  EXPECT_EQ(changes, 3);
}

// Marked after the answer, or after it no longer counts as under way, a hold could miss it.
TEST(LiveDisk, IsUnderWayUntilTheImageHasIt) {
  WatchedDisk made;
  made.file->watch([&](Change) -> Result<void> {
    const auto number = made.gate->hold();
    EXPECT_FALSE(made.gate->wait_idle(std::chrono::steady_clock::now()));
    EXPECT_FALSE(made.gate->fence(number));
    made.gate->let_go();
    return {};
  });
  ASSERT_TRUE(succeeded(made.disk->write(0, filled(4096, 2), Durability::kAtFlush)));
  made.file->watch({});
  const auto number = made.gate->hold();
  EXPECT_TRUE(made.gate->fence(number));
  EXPECT_EQ(made.disk->dirty().take(0, kAll), (DirtyRange{0, 4096}));
}

TEST(LiveDisk, AWriteThatFailedIsMarkedToo) {
  WatchedDisk made;
  made.file->watch([](Change) -> Result<void> { return Error{.code = BaseErrc::kInjected}; });
  EXPECT_TRUE(
      failed_with(made.disk->write(0, filled(4096, 2), Durability::kAtFlush), BaseErrc::kInjected));
  made.file->watch({});
  EXPECT_EQ(made.disk->dirty().take(0, kAll), (DirtyRange{0, 4096}));
}

TEST(LiveDisk, IsDurableBeforeTheAnswerIfItIsAskedFor) {
  int syncs = 0;
  WatchedDisk made;  // tells of changes when it goes, too
  made.file->watch([&](Change change) -> Result<void> {
    if (change == Change::kSync) ++syncs;
    return {};
  });
  ASSERT_TRUE(succeeded(made.disk->write(0, filled(4096, 2), Durability::kAtFlush)));
  EXPECT_EQ(syncs, 0);
  ASSERT_TRUE(succeeded(made.disk->write(0, filled(4096, 2), Durability::kNow)));
  EXPECT_EQ(syncs, 1);
  ASSERT_TRUE(succeeded(made.disk->flush()));
  EXPECT_EQ(syncs, 2);
}

TEST(LiveDisk, OneGateHoldsTheWritesOfEveryDiskOfAGroup) {
  const WritableDisk made({.type = vhdx::DiskType::kDynamic, .sector_bytes = 512});
  const auto gate = std::make_shared<SharedGate>();
  std::vector<std::unique_ptr<LiveDisk>> disks;
  for (int i = 0; i < 2; ++i) {
    auto writer = made.open(made.file().clone());
    ASSERT_TRUE(succeeded(writer));
    disks.push_back(std::make_unique<LiveDisk>(std::move(*writer), gate));
  }
  gate->start_tracking();
  ASSERT_TRUE(succeeded(disks[0]->write(0, filled(4096, 1), Durability::kAtFlush)));
  EXPECT_EQ(disks[0]->dirty().dirty_pages(), 1U);
  EXPECT_EQ(disks[1]->dirty().dirty_pages(), 0U) << "each disk has a map of its own";
  const auto number = gate->hold();
  std::vector<std::thread> writers;
  std::atomic<int> refused{0};
  for (const auto& disk : disks) {
    writers.emplace_back([&disk, &refused] {
      if (disk->write(0, filled(4096, 2), Durability::kAtFlush).has_error()) ++refused;
    });
  }
  while (gate->waiting() != 2) std::this_thread::yield();
  ASSERT_TRUE(gate->fence(number));
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(refused, 2);
}

/// A disk in a file.
class LiveDiskFile : public testing::Test {
 protected:
  LiveDiskFile() {
    const WritableDisk made({.type = vhdx::DiskType::kDynamic, .sector_bytes = 512});
    const auto file = made.file().clone();
    std::vector<std::byte> bytes(static_cast<std::size_t>(*file->size()));
    EXPECT_TRUE(succeeded(read_exact_at(*file, 0, bytes, "all of it")));
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }

  Result<std::unique_ptr<LiveDisk>> open(bool read_only = false) const {
    return LiveDisk::open(path_, std::make_shared<SharedGate>(), {.read_only = read_only});
  }

  test::TempFolder folder_;
  const std::string path_ = folder_ / "disk.vhdx";
};

TEST_F(LiveDiskFile, HasOneWriterOrAnyNumberOfReaders) {
  {
    const auto writer = open();
    ASSERT_TRUE(succeeded(writer));
    EXPECT_TRUE(failed_with(open(), vhdx::Errc::kInUse));
    EXPECT_TRUE(failed_with(open(true), vhdx::Errc::kInUse));
  }
  const auto reader = open(true);
  ASSERT_TRUE(succeeded(reader));
  EXPECT_TRUE(succeeded(open(true)));
  EXPECT_TRUE(failed_with(open(), vhdx::Errc::kInUse));
}

TEST_F(LiveDiskFile, AReadOnlyOneRefusesChanges) {
  const auto disk = open(true);
  ASSERT_TRUE(succeeded(disk));
  EXPECT_TRUE((*disk)->read_only());
  const auto erofs = boost::system::errc::read_only_file_system;
  EXPECT_EQ((*disk)->write(0, filled(512, 1), Durability::kAtFlush).error().code, erofs);
  EXPECT_EQ((*disk)->trim(0, 512, Durability::kAtFlush).error().code, erofs);
  EXPECT_TRUE(succeeded((*disk)->flush()));
  std::vector<vhdx::Extent> extents;
  ASSERT_TRUE(succeeded((*disk)->map(0, (*disk)->size_bytes(), extents, 16)));
  ASSERT_EQ(extents.size(), 1U);
  EXPECT_EQ(extents[0].kind, ExtentKind::kUnmapped);
}

TEST_F(LiveDiskFile, AReleasedCopyIsRefused) {
  const std::string released = path_ + ".released";
  std::filesystem::rename(path_, released);
  for (const bool read_only : {false, true}) {
    EXPECT_TRUE(failed_with(
        LiveDisk::open(released, std::make_shared<SharedGate>(), {.read_only = read_only}),
        BaseErrc::kInvalidArgument));
  }
}

TEST_F(LiveDiskFile, WhatWasClosedIsThereAndItsLogIsEmpty) {
  {
    auto disk = open();
    ASSERT_TRUE(succeeded(disk));
    ASSERT_TRUE(succeeded((*disk)->write(kBlock, filled(4096, 6), Durability::kAtFlush)));
    ASSERT_TRUE(succeeded((*disk)->close()));
    EXPECT_TRUE(
        failed_with((*disk)->write(0, filled(512, 1), Durability::kAtFlush), vhdx::Errc::kClosed));
  }
  auto image = vhdx::Image::open(path_);
  ASSERT_TRUE(succeeded(image));
  EXPECT_TRUE((*image)->layers().front()->header().log_guid.is_zero());
  std::vector<std::byte> bytes(4096);
  ASSERT_TRUE(succeeded((*image)->read(kBlock, bytes)));
  EXPECT_TRUE(bytes == filled(4096, 6));
}

}  // namespace
}  // namespace vhdxm::transfer
