#include "base/posix_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <random>
#include <vector>

#include "base/buffer_pool.h"
#include "base/memory_file.h"
#include "tests/support/cached_pages.h"
#include "tests/support/random_seed.h"
#include "tests/support/temp_folder.h"

/// What the device tells of the next write-out; 0: what it tells itself.
static std::atomic<int> write_out_error{0};

// In place of the system's: no device fails when it is told to.
extern "C" int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
  if (const int error = write_out_error.exchange(0); error != 0) {
    errno = error;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_sync_file_range, fd, offset, length, flags));
}

namespace vhdxm {
namespace {

constexpr PosixFile::Options kReadWrite{.access = PosixFile::Access::kReadWrite};
constexpr PosixFile::Options kDirect{.access = PosixFile::Access::kReadWrite, .direct = true};

class PosixFileTest : public testing::Test {
 protected:
  std::string make(const std::string& name, std::size_t size_bytes, char fill) {
    std::ofstream(folder_ / name, std::ios::binary) << std::string(size_bytes, fill);
    return folder_ / name;
  }

  test::TempFolder folder_;
};

TEST_F(PosixFileTest, OpenDoesNotCreateAndNamesTheFile) {
  const auto file = PosixFile::open(folder_ / "none", kReadWrite);
  ASSERT_TRUE(file.has_error());
  EXPECT_EQ(file.error().code, boost::system::errc::no_such_file_or_directory);
  EXPECT_EQ(file.error().subject, folder_ / "none");
}

TEST_F(PosixFileTest, RefusesFoldersAndPipesWithoutHanging) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(PosixFile::open(folder_ / "pipe", {}).error().code, BaseErrc::kInvalidArgument);
  EXPECT_EQ(PosixFile::open(folder_.path(), {}).error().code, BaseErrc::kInvalidArgument);
}

TEST_F(PosixFileTest, ReadsUpToTheEnd) {
  auto file = PosixFile::open(make("f", 5000, 'x'), {}).value();
  std::vector<std::byte> bytes(8192);
  EXPECT_EQ(file->read_some_at(0, bytes).value(), 5000U);
  EXPECT_EQ(file->read_some_at(4999, bytes).value(), 1U);
  EXPECT_EQ(file->read_some_at(5000, bytes).value(), 0U);
  EXPECT_EQ(file->size().value(), 5000U);
  EXPECT_EQ(file->name(), folder_ / "f");
}

TEST_F(PosixFileTest, WriteToAReadOnlyFileFailsByName) {
  auto file = PosixFile::open(make("f", 10, 'x'), {}).value();
  const std::vector<std::byte> bytes(1);
  const auto result = file->write_at(3, bytes);
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().subject, folder_ / "f");
  EXPECT_EQ(result.error().offset, 3U);
}

TEST_F(PosixFileTest, RefusesOffsetsThatNoFileHas) {
  auto file = PosixFile::open(make("f", 10, 'x'), kReadWrite).value();
  std::vector<std::byte> bytes(2);
  const std::uint64_t far = std::uint64_t{1} << 63;
  EXPECT_EQ(file->read_some_at(far, bytes).error().code, BaseErrc::kOutOfRange);
  EXPECT_EQ(file->write_at(far - 1, bytes).error().code, BaseErrc::kOutOfRange);
  EXPECT_EQ(file->resize(far).error().code, BaseErrc::kOutOfRange);
  EXPECT_EQ(file->allocate(1, ~std::uint64_t{0}).error().code, BaseErrc::kOutOfRange);
  EXPECT_EQ(file->punch_hole(far, 1).error().code, BaseErrc::kOutOfRange);
  EXPECT_EQ(file->size().value(), 10U);
}

// Aligned and unaligned pieces, direct and buffered, must meet in one file; where the file system
// has no O_DIRECT, the same calls go through the cache.
TEST_F(PosixFileTest, DirectAndBufferedAccessShowTheSameBytes) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  make("f", 0, 'x');
  auto direct = PosixFile::open(folder_ / "f", kDirect).value();
  MemoryFile model;
  BufferPool pool(65536, 1);
  const Buffer buffer = pool.acquire();
  const auto memory = buffer.bytes();
  for (int step = 0; step < 300; ++step) {
    if (step == 150) direct->write_behind();
    const bool aligned = random() % 2 == 0;
    const std::uint64_t unit = aligned ? 4096 : 1;
    const std::uint64_t offset = random() % (400'000 / unit) * unit;
    const auto length = static_cast<std::size_t>(random() % (65536 / unit + 1) * unit);
    const auto bytes = memory.first(length);
    for (auto& byte : bytes) byte = static_cast<std::byte>(random());
    ASSERT_FALSE(direct->write_at(offset, bytes).has_error());
    ASSERT_FALSE(model.write_at(offset, bytes).has_error());
  }
  ASSERT_FALSE(direct->sync().has_error());
  ASSERT_EQ(direct->size().value(), model.size().value());
  std::vector<std::byte> expected(65536);
  auto buffered = PosixFile::open(folder_ / "f", {}).value();
  for (std::uint64_t at = 0; at < model.size().value(); at += 65536) {
    const std::size_t there = model.read_some_at(at, expected).value();
    ASSERT_EQ(direct->read_some_at(at, memory).value(), there);
    ASSERT_TRUE(std::equal(memory.begin(), memory.begin() + static_cast<std::ptrdiff_t>(there),
                           expected.begin()));
    ASSERT_EQ(buffered->read_some_at(at, memory).value(), there);
    ASSERT_TRUE(std::equal(memory.begin(), memory.begin() + static_cast<std::ptrdiff_t>(there),
                           expected.begin()));
  }
}

TEST_F(PosixFileTest, WritesBehindGoThroughTheCacheAndLeaveIt) {
  make("f", 1 << 20, 'x');
  auto file = PosixFile::open(folder_ / "f", kDirect).value();
  ASSERT_FALSE(file->sync().has_error());
  BufferPool pool(1 << 20, 1);
  const Buffer buffer = pool.acquire();
  const auto cached_pages = [&](std::size_t offset, std::size_t length) {
    return test::cached_pages(file->fd(), offset, length);
  };
  ASSERT_EQ(::posix_fadvise(file->fd(), 0, 0, POSIX_FADV_DONTNEED), 0);
  ASSERT_FALSE(file->write_at(0, buffer.bytes().first(4096)).has_error());
  if (cached_pages(0, 4096) != 0) GTEST_SKIP() << "this file system keeps all in its cache";
  file->write_behind();
  ASSERT_FALSE(file->write_at(65536, buffer.bytes().first(4096)).has_error());
  EXPECT_EQ(cached_pages(65536, 4096), 1U);
  constexpr std::size_t kWrites = 100;
  for (std::size_t i = 0; i < kWrites; ++i) {
    ASSERT_FALSE(file->write_at(i << 20, buffer.bytes()).has_error());
  }
  EXPECT_LE(cached_pages(0, kWrites << 20), 64U * 256) << "of what is on its way";
  ASSERT_FALSE(file->sync().has_error());
  EXPECT_EQ(cached_pages(0, kWrites << 20), 0U);
}

// Seen at the cache itself: what is cold stays cold, and what is warm is not evicted either.
TEST_F(PosixFileTest, ReadsThatPreferTheCacheLeaveItAsItIs) {
  constexpr std::size_t kSize = 6 << 20;  // longer than one look at the cache
  constexpr std::size_t kEnd = kSize + 1000;
  const std::string path = make("f", kEnd, 'x');
  BufferPool pool(8 << 20, 1);
  const Buffer buffer = pool.acquire();
  const auto memory = buffer.bytes();
  {
    auto writer = PosixFile::open(path, kReadWrite).value();
    for (std::size_t i = 0; i < kEnd; ++i) memory[i] = static_cast<std::byte>(i / 4096 + i % 251);
    ASSERT_FALSE(writer->write_at(0, memory.first(kEnd)).has_error());
  }
  const std::vector<std::byte> expected(memory.begin(),
                                        memory.begin() + static_cast<std::ptrdiff_t>(kEnd));
  auto file = PosixFile::open(path, {.direct = true, .prefer_cached = true}).value();
  if (!test::drop_cached(file->fd(), kSize)) {
    GTEST_SKIP() << "this file system keeps all in its cache";
  }
  const auto expect_content = [&](std::size_t offset, std::size_t length, std::size_t there) {
    std::fill(memory.begin(), memory.end(), std::byte{0xee});
    ASSERT_EQ(file->read_some_at(offset, memory.first(length)).value(), there);
    ASSERT_TRUE(std::equal(memory.begin(), memory.begin() + static_cast<std::ptrdiff_t>(there),
                           expected.begin() + static_cast<std::ptrdiff_t>(offset)));
  };
  expect_content(0, kSize, kSize);
  expect_content(12288, 4096, 4096);
  EXPECT_EQ(test::cached_pages(file->fd(), 0, kSize), 0U) << "of a file that was cold";

  // Warm in part: [1 MiB, 2 MiB) and the last MiB, and a page alone.
  auto reader = PosixFile::open(path, {}).value();
  ASSERT_EQ(::posix_fadvise(reader->fd(), 0, 0, POSIX_FADV_RANDOM), 0);
  for (const std::size_t at : {std::size_t{1} << 20, std::size_t{5} << 20}) {
    ASSERT_EQ(reader->read_some_at(at, memory.first(1 << 20)).value(), std::size_t{1} << 20);
  }
  ASSERT_EQ(reader->read_some_at(3 << 20, memory.first(4096)).value(), 4096U);
  const std::size_t warm = test::cached_pages(file->fd(), 0, kSize);
  ASSERT_GE(warm, 513U);
  expect_content(0, kSize, kSize);
  EXPECT_EQ(test::cached_pages(file->fd(), 0, kSize), warm);
  // Up to and over the end, which is aligned to nothing.
  expect_content(4 << 20, 4 << 20, kEnd - (4 << 20));
  expect_content(kSize, 4096, 1000);
}

// What somebody else uses stays, all else is as cold as before, and what is written meanwhile is
// not lost.
TEST_F(PosixFileTest, PassingReadsLeaveTheCacheAsItIs) {
  constexpr std::size_t kSize = 6 << 20;
  constexpr std::size_t kEnd = kSize + 1000;
  const std::string path = make("f", kEnd, 'x');
  BufferPool pool(8 << 20, 1);
  const Buffer buffer = pool.acquire();
  const auto memory = buffer.bytes();
  std::vector<std::byte> expected(kEnd);
  for (std::size_t i = 0; i < kEnd; ++i) expected[i] = static_cast<std::byte>(i / 4096 + i % 251);
  auto file = PosixFile::open(path, kReadWrite).value();
  ASSERT_FALSE(file->write_at(0, expected).has_error());
  if (!test::drop_cached(file->fd(), kSize)) {
    GTEST_SKIP() << "this file system keeps all in its cache";
  }
  const auto expect_content = [&](std::size_t offset, std::size_t length, std::size_t there) {
    std::fill(memory.begin(), memory.end(), std::byte{0xee});
    ASSERT_EQ(file->read_passing_at(offset, memory.first(length)).value(), there);
    ASSERT_TRUE(std::equal(memory.begin(), memory.begin() + static_cast<std::ptrdiff_t>(there),
                           expected.begin() + static_cast<std::ptrdiff_t>(offset)));
  };
  for (std::size_t at = 0; at < kSize; at += 1 << 20) expect_content(at, 1 << 20, 1 << 20);
  EXPECT_EQ(test::cached_pages(file->fd(), 0, kSize), 0U) << "of a file that was cold";

  // Pages that a guest uses: one that it reads, one that it writes.
  auto guest = PosixFile::open(path, kReadWrite).value();
  ASSERT_EQ(::posix_fadvise(guest->fd(), 0, 0, POSIX_FADV_RANDOM), 0);
  ASSERT_EQ(guest->read_some_at(3 << 20, memory.first(4096)).value(), 4096U);
  std::fill_n(expected.begin() + (5 << 20), 4096, std::byte{7});
  ASSERT_FALSE(guest->write_at(5 << 20, std::span(expected).subspan(5 << 20, 4096)).has_error());
  const std::size_t warm = test::cached_pages(file->fd(), 0, kSize);
  ASSERT_GE(warm, 2U);
  expect_content(0, kSize, kSize);
  EXPECT_EQ(test::cached_pages(file->fd(), 3 << 20, 4096), 1U);
  EXPECT_EQ(test::cached_pages(file->fd(), 5 << 20, 4096), 1U);
  EXPECT_LE(test::cached_pages(file->fd(), 0, kSize), warm + 2 * 16) << "their 64 KiB at most";
  // Up to and over the end, and what is aligned to nothing.
  expect_content(4 << 20, 4 << 20, kEnd - (4 << 20));
  expect_content(kSize, 1 << 20, 1000);
  expect_content(77, 1 << 20, 1 << 20);
}

TEST_F(PosixFileTest, AWriteOutThatFailedIsToldByEverySyncAfterIt) {
  make("f", 1 << 20, 'x');
  auto file = PosixFile::open(folder_ / "f", kDirect).value();
  file->write_behind();
  const std::vector<std::byte> bytes(1 << 16);
  ASSERT_FALSE(file->write_at(0, bytes).has_error());
  ASSERT_FALSE(file->sync().has_error());
  write_out_error = EIO;
  const auto failed = file->write_at(1 << 16, bytes);
  ASSERT_TRUE(failed.has_error());
  EXPECT_EQ(failed.error().code, boost::system::errc::io_error);
  // The kernel tells it once, and a sync by another thread must not take the file for durable.
  for (int i = 0; i < 2; ++i) {
    const auto synced = file->sync();
    ASSERT_TRUE(synced.has_error());
    EXPECT_EQ(synced.error().code, boost::system::errc::io_error);
  }
  write_out_error = ENOSYS;
  auto elsewhere = PosixFile::open(folder_ / "f", kDirect).value();
  elsewhere->write_behind();
  EXPECT_FALSE(elsewhere->write_at(0, bytes).has_error()) << "then it is for sync() to do";
  EXPECT_FALSE(elsewhere->sync().has_error());
}

TEST_F(PosixFileTest, WorksWithoutADirectDescriptor) {
  const std::string path = make("f", 8192, 'x');
  PosixFile file(path, ::open(path.c_str(), O_RDWR | O_CLOEXEC), -1);
  BufferPool pool(4096, 1);
  const Buffer buffer = pool.acquire();
  ASSERT_EQ(file.read_some_at(4096, buffer.bytes()).value(), 4096U);
  EXPECT_FALSE(file.write_at(0, buffer.bytes()).has_error());
}

TEST_F(PosixFileTest, AllocateGrowsKeepsContentAndReadsAsZero) {
  auto file = PosixFile::open(make("f", 100, 'x'), kReadWrite).value();
  ASSERT_FALSE(file->allocate(50, 100'000).has_error());
  EXPECT_EQ(file->size().value(), 100'050U);
  std::vector<std::byte> bytes(100'050);
  ASSERT_EQ(file->read_some_at(0, bytes).value(), bytes.size());
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{'x'}), 100);
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{0}), 99'950);
  ASSERT_FALSE(file->allocate(0, 10).has_error());
  EXPECT_EQ(file->size().value(), 100'050U);
}

TEST_F(PosixFileTest, AllocatingOrPunchingNothingIsNoError) {
  auto file = PosixFile::open(make("f", 100, 'x'), kReadWrite).value();
  EXPECT_FALSE(file->allocate(500, 0).has_error());
  EXPECT_FALSE(file->punch_hole(50, 0).has_error());
  EXPECT_EQ(file->size().value(), 100U);
}

TEST_F(PosixFileTest, AllocateFailsWhenThereIsNoRoom) {
  auto file = PosixFile::open(make("f", 100, 'x'), kReadWrite).value();
  const auto result = file->allocate(0, std::uint64_t{1} << 60);
  ASSERT_TRUE(result.has_error());  // ENOSPC, or EFBIG where files are smaller than that
  EXPECT_EQ(result.error().subject, folder_ / "f");
}

TEST_F(PosixFileTest, PunchedRangesReadAsZeroAndTheSizeStays) {
  auto file = PosixFile::open(make("f", 20'000, 'x'), kReadWrite).value();
  ASSERT_FALSE(file->punch_hole(100, 15'000).has_error());
  ASSERT_FALSE(file->punch_hole(19'990, 1'000).has_error());
  EXPECT_EQ(file->size().value(), 20'000U);
  std::vector<std::byte> bytes(20'000);
  ASSERT_EQ(file->read_some_at(0, bytes).value(), bytes.size());
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{'x'}), 20'000 - 15'000 - 10);
}

TEST_F(PosixFileTest, NextDataSkipsHolesAndNeverSkipsData) {
  constexpr std::uint64_t kMiB = 1024 * 1024;
  auto file = PosixFile::open(make("f", 0, 'x'), kReadWrite).value();
  const std::vector<std::byte> bytes(4096, std::byte{1});
  ASSERT_FALSE(file->resize(64 * kMiB).has_error());
  ASSERT_FALSE(file->write_at(10 * kMiB, bytes).has_error());
  ASSERT_FALSE(file->write_at(40 * kMiB, bytes).has_error());
  std::uint64_t covered = 0;
  for (std::uint64_t at = 0;;) {
    const auto run = file->next_data(at).value();
    if (run.begin == run.end) {
      EXPECT_EQ(run.end, 64 * kMiB);
      break;
    }
    for (const std::uint64_t data : {10 * kMiB, 40 * kMiB}) {
      if (run.begin <= data && data + 4096 <= run.end) ++covered;
    }
    at = run.end;
  }
  EXPECT_EQ(covered, 2U);
  EXPECT_EQ(file->next_data(64 * kMiB).value().begin, 64 * kMiB);
  EXPECT_EQ(file->next_data(~std::uint64_t{0}).value().begin, 64 * kMiB);
}

TEST_F(PosixFileTest, OnlyOneHasTheLock) {
  make("f", 1, 'x');
  auto one = PosixFile::open(folder_ / "f", {}).value();
  auto two = PosixFile::open(folder_ / "f", {}).value();
  EXPECT_FALSE(one->lock_exclusive().has_error());
  EXPECT_EQ(two->lock_exclusive().error().code, boost::system::errc::operation_would_block);
  one.reset();
  EXPECT_FALSE(two->lock_exclusive().has_error());
}

TEST_F(PosixFileTest, ReadersShareItsLockAndKeepWritersOut) {
  make("f", 1, 'x');
  auto reader = PosixFile::open(folder_ / "f", {}).value();
  auto another = PosixFile::open(folder_ / "f", {}).value();
  auto writer = PosixFile::open(folder_ / "f", kReadWrite).value();
  EXPECT_TRUE(reader->lock_for_reading().value());
  EXPECT_TRUE(another->lock_for_reading().value());
  EXPECT_FALSE(writer->lock_for_writing().value());
  EXPECT_FALSE(reader->is_written_by_qemu().value());
  reader.reset();
  another.reset();
  writer = PosixFile::open(folder_ / "f", kReadWrite).value();
  EXPECT_TRUE(writer->lock_for_writing().value());
  auto late = PosixFile::open(folder_ / "f", {}).value();
  EXPECT_FALSE(late->lock_for_reading().value());
}

TEST_F(PosixFileTest, KnowsWhetherItsNameIsGone) {
  auto file = PosixFile::open(make("f", 1, 'x'), {}).value();
  EXPECT_TRUE(file->has_name().value());
  std::filesystem::remove(folder_ / "f");
  EXPECT_FALSE(file->has_name().value());
}

TEST_F(PosixFileTest, CountsTheRoomItTakes) {
  auto file = PosixFile::open(make("f", 0, 'x'), kReadWrite).value();
  ASSERT_FALSE(file->resize(64 * 1024 * 1024).has_error());
  ASSERT_FALSE(file->write_at(0, std::vector<std::byte>(8192, std::byte{1})).has_error());
  ASSERT_FALSE(file->sync().has_error());
  EXPECT_GE(file->allocated_bytes().value(), 8192U);
  EXPECT_LT(file->allocated_bytes().value(), 64U * 1024 * 1024);
}

TEST_F(PosixFileTest, StampTellsFilesAndSizesApart) {
  auto one = PosixFile::open(make("one", 1, 'x'), kReadWrite).value();
  auto two = PosixFile::open(make("two", 1, 'x'), kReadWrite).value();
  const auto before = one->stamp().value();
  EXPECT_EQ(before, one->stamp().value());
  EXPECT_NE(before, two->stamp().value());
  ASSERT_FALSE(one->resize(2).has_error());
  EXPECT_NE(before, one->stamp().value());
}

class SharedBlocks : public PosixFileTest {
 protected:
  static constexpr std::size_t kLength = 1 << 16;

  std::vector<std::byte> read(PosixFile& file) {
    std::vector<std::byte> bytes(2 * kLength);
    EXPECT_TRUE(read_exact_at(file, 0, bytes, "all").has_value());
    return bytes;
  }
  static std::vector<std::byte> of(char first, char second) {
    std::vector<std::byte> bytes(2 * kLength, static_cast<std::byte>(first));
    std::fill_n(bytes.begin() + kLength, kLength, static_cast<std::byte>(second));
    return bytes;
  }

  std::unique_ptr<PosixFile> source_ = PosixFile::open(make("s", 2 * kLength, 's'), {}).value();
  std::unique_ptr<PosixFile> target_ =
      PosixFile::open(make("t", 2 * kLength, 't'), kReadWrite).value();
};

TEST_F(SharedBlocks, AreTheSourcesUntilOneIsWrittenOrNothingHappens) {
  const auto shared = target_->share_from(*source_, kLength, 0, kLength);
  ASSERT_TRUE(shared.has_value());
  EXPECT_EQ(read(*target_), of(*shared ? 's' : 't', 't')) << "shared: " << *shared;
  const std::vector<std::byte> bytes(kLength, std::byte{'w'});
  ASSERT_TRUE(target_->write_at(0, bytes).has_value());
  EXPECT_EQ(read(*target_), of('w', 't'));
  EXPECT_EQ(read(*source_), of('s', 's'));
}

TEST_F(SharedBlocks, AreNotPossibleWithinABlockOrPastTheSourcesEnd) {
  EXPECT_FALSE(target_->share_from(*source_, 1, 0, kLength).value());
  EXPECT_FALSE(target_->share_from(*source_, 0, 512, kLength).value());
  EXPECT_FALSE(target_->share_from(*source_, 0, 0, kLength - 512).value());
  EXPECT_FALSE(target_->share_from(*source_, kLength, 0, 2 * kLength).value());
  EXPECT_EQ(read(*target_), of('t', 't'));
}

TEST_F(SharedBlocks, OfNothingAreNotAllThatFollows) {
  EXPECT_TRUE(target_->share_from(*source_, 0, 0, 0).value());
  EXPECT_EQ(read(*target_), of('t', 't'));
}

TEST_F(SharedBlocks, AreNotPossibleWithAFileOfAnotherForm) {
  MemoryFile memory("memory");
  ASSERT_TRUE(memory.resize(kLength).has_value());
  EXPECT_FALSE(target_->share_from(memory, 0, 0, kLength).value());
  EXPECT_FALSE(memory.share_from(*source_, 0, 0, kLength).value());
  EXPECT_EQ(read(*target_), of('t', 't'));
}

TEST_F(SharedBlocks, AreNotPossibleBetweenFileSystems) {
  const auto other = PosixFile::open("/proc/self/maps", {}).value();
  EXPECT_FALSE(target_->share_from(*other, 0, 0, kLength).value());
  EXPECT_EQ(read(*target_), of('t', 't'));
}

TEST_F(SharedBlocks, WithATargetThatMayNotBeWrittenAreAnError) {
  const auto read_only = PosixFile::open(folder_ / "t", {}).value();
  const auto shared = read_only->share_from(*source_, 0, 0, kLength);
  ASSERT_TRUE(shared.has_error());
  EXPECT_EQ(shared.error().subject, folder_ / "t");
}

}  // namespace
}  // namespace vhdxm
