// The dirty map against a plain bitmap, and between threads that write and one that copies.
#include "transfer/dirty_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/random_seed.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kPage = kDirtyPageBytes;
constexpr std::uint64_t kLeafBytes = 128 * 1024 * 1024;
constexpr std::uint64_t kAll = ~std::uint64_t{0};

void mark(DirtyMap& map, std::uint64_t offset, std::uint64_t length) {
  map.reserve(offset, length);
  map.mark(offset, length);
}

TEST(DirtyMap, ARangeOfBytesMakesEveryPageDirtyThatItTouches) {
  DirtyMap map(kLeafBytes);
  mark(map, kPage + 1, kPage);  // of two pages
  EXPECT_EQ(map.dirty_pages(), 2U);
  EXPECT_EQ(map.take(0, kAll), (DirtyRange{kPage, 2 * kPage}));
  EXPECT_EQ(map.take(0, kAll), std::nullopt);
  EXPECT_EQ(map.dirty_pages(), 0U);
  EXPECT_EQ(map.marked_pages(), 2U);
}

TEST(DirtyMap, TheLastPageEndsWithTheDisk) {
  DirtyMap map(3 * kPage + 512);
  mark(map, 3 * kPage, 512);
  EXPECT_EQ(map.take(0, kAll), (DirtyRange{3 * kPage, 512}));
}

TEST(DirtyMap, TakesAtMostWhatIsAskedForAndLeavesTheRest) {
  DirtyMap map(kLeafBytes);
  mark(map, 60 * kPage, 100 * kPage);
  EXPECT_EQ(map.take(0, 70 * kPage), (DirtyRange{60 * kPage, 70 * kPage}));
  EXPECT_EQ(map.take(130 * kPage, kAll), (DirtyRange{130 * kPage, 30 * kPage}));
  EXPECT_EQ(map.take(0, kAll), std::nullopt);
}

TEST(DirtyMap, WhatLiesBeforeTheCursorIsOfTheNextRound) {
  DirtyMap map(kLeafBytes);
  mark(map, 0, kPage);
  mark(map, 2 * kPage, kPage);
  EXPECT_EQ(map.take(kPage, kAll), (DirtyRange{2 * kPage, kPage}));
  EXPECT_EQ(map.take(3 * kPage, kAll), std::nullopt);
  EXPECT_EQ(map.take(0, kAll), (DirtyRange{0, kPage}));
}

TEST(DirtyMap, ARunGoesOnAcrossLeaves) {
  DirtyMap map(4 * kLeafBytes);
  mark(map, kLeafBytes - kPage, kLeafBytes + 2 * kPage);
  EXPECT_EQ(map.take(0, kAll), (DirtyRange{kLeafBytes - kPage, kLeafBytes + 2 * kPage}));
}

TEST(DirtyMap, WhatDidNotGetAcrossIsDirtyAgain) {
  DirtyMap map(kLeafBytes);
  mark(map, 0, 4 * kPage);
  const auto taken = map.take(0, kAll);
  ASSERT_TRUE(taken.has_value());
  map.mark(taken->offset + kPage, kPage);
  EXPECT_EQ(map.take(0, kAll), (DirtyRange{kPage, kPage}));
}

TEST(DirtyMap, TheLargestDiskTakesMemoryForWhatIsWritten) {
  constexpr std::uint64_t kLargest = std::uint64_t{64} << 40;
  DirtyMap map(kLargest);
  const std::uint64_t empty = map.memory_bytes();
  EXPECT_EQ(empty, 8 * (kLargest / kLeafBytes));
  mark(map, kLargest - kPage, kPage);
  mark(map, kLargest / 2, kPage);
  mark(map, kLargest / 2 + kPage, kPage);
  EXPECT_LE(map.memory_bytes() - empty, 2 * (4096U + 64));
  EXPECT_EQ(map.take(0, kAll), (DirtyRange{kLargest / 2, 2 * kPage}));
  EXPECT_EQ(map.take(kLargest / 2, kAll), (DirtyRange{kLargest - kPage, kPage}));
  EXPECT_EQ(map.take(0, kAll), std::nullopt);
}

TEST(DirtyMap, ClearLeavesNothing) {
  DirtyMap map(2 * kLeafBytes);
  mark(map, 0, 2 * kLeafBytes);
  EXPECT_EQ(map.dirty_pages(), 2 * kLeafBytes / kPage);
  map.clear();
  EXPECT_EQ(map.dirty_pages(), 0U);
  EXPECT_EQ(map.take(0, kAll), std::nullopt);
}

TEST(DirtyMap, CleanTakesARangeAndNothingBesideIt) {
  DirtyMap map(2 * kLeafBytes + 512);
  map.clean(0, 2 * kLeafBytes + 512);  // without leaves
  EXPECT_EQ(map.dirty_pages(), 0U);
  mark(map, 0, 2 * kLeafBytes + 512);
  map.clean(kPage, 3 * kPage);
  map.clean(kLeafBytes - 70 * kPage, 140 * kPage);
  map.clean(2 * kLeafBytes, 512);  // the short page at the end
  EXPECT_EQ(map.dirty_pages(), 2 * kLeafBytes / kPage - 143);
  EXPECT_EQ(map.take(0, kAll), (DirtyRange{0, kPage}));
  EXPECT_EQ(map.take(0, kAll), (DirtyRange{4 * kPage, kLeafBytes - 74 * kPage}));
  EXPECT_EQ(map.take(0, kAll), (DirtyRange{kLeafBytes + 70 * kPage, kLeafBytes - 70 * kPage}));
  EXPECT_EQ(map.take(0, kAll), std::nullopt);
  mark(map, 2 * kPage, kPage);
  EXPECT_EQ(map.take(0, kAll), (DirtyRange{2 * kPage, kPage})) << "dirty again, and found";
}

/// A bit each page, nothing else.
class PlainMap {
 public:
  explicit PlainMap(std::uint64_t disk_bytes)
      : disk_bytes_(disk_bytes),
        dirty_(static_cast<std::size_t>((disk_bytes + kPage - 1) / kPage)) {}

  void mark(std::uint64_t offset, std::uint64_t length) {
    for (std::uint64_t at = offset / kPage * kPage; at < offset + length; at += kPage) {
      set(static_cast<std::size_t>(at / kPage), true);
    }
  }

  std::optional<DirtyRange> take(std::uint64_t from, std::uint64_t length_max) {
    auto page = static_cast<std::size_t>(from / kPage);
    while (page < dirty_.size() && !dirty_[page]) ++page;
    if (page >= dirty_.size()) return std::nullopt;
    DirtyRange range{.offset = page * kPage, .length = 0};
    while (page < dirty_.size() && dirty_[page] && range.length + kPage <= length_max) {
      set(page++, false);
      range.length += kPage;
    }
    range.length = std::min(range.length, disk_bytes_ - range.offset);
    return range;
  }

  std::uint64_t count() const { return count_; }

 private:
  void set(std::size_t page, bool dirty) {
    if (dirty_[page] == dirty) return;
    dirty_[page] = dirty;
    count_ = dirty ? count_ + 1 : count_ - 1;
  }

  const std::uint64_t disk_bytes_;
  std::vector<bool> dirty_;
  std::uint64_t count_ = 0;
};

TEST(DirtyMap, DoesWhatAPlainBitmapWouldDo) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < test::rounds(40); ++round) {
    const std::uint64_t size = (1 + random() % (3 * kLeafBytes / 512)) * 512;
    DirtyMap map(size);
    PlainMap plain(size);
    std::uint64_t cursor = 0;
    for (int i = 0; i < 400; ++i) {
      if (random() % 2 == 0) {
        const std::uint64_t most = std::uint64_t{1} << random() % 25;
        const std::uint64_t offset =
            random() % 4 == 0 ? std::min(size, kLeafBytes) - std::min(size, kLeafBytes) % 512
                              : random() % (size + 1);
        const std::uint64_t length = std::min(size - offset, random() % (most + 1));
        mark(map, offset, length);
        if (length != 0) plain.mark(offset, length);
      } else {
        const std::uint64_t most = (1 + random() % 300) * kPage + random() % kPage;
        const auto expected = plain.take(cursor, most);
        ASSERT_EQ(map.take(cursor, most), expected) << "cursor " << cursor;
        cursor = expected ? expected->offset + expected->length : 0;
        cursor = cursor / kPage * kPage;
        if (random() % 50 == 0) cursor = random() % (size / kPage + 1) * kPage;
      }
      ASSERT_EQ(map.dirty_pages(), plain.count());
    }
  }
}

// Writers change pages of a "disk" and mark them; a copier takes, then reads. What it copied last
// is what was written last, of every page.
TEST(DirtyMap, ACopierMissesNoWriteOfAnyThread) {
  constexpr unsigned kWriters = 3;
  constexpr std::uint64_t kPages = 200;
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  DirtyMap map(kPages * kPage);
  std::vector<std::atomic<std::uint64_t>> disk(kPages);
  std::vector<std::uint64_t> copy(kPages);
  std::atomic<unsigned> writing{kWriters};
  const auto copy_all = [&] {
    std::uint64_t from = 0;
    while (const auto range = map.take(from, 16 * kPage)) {
      from = range->offset + range->length;
      for (std::uint64_t at = range->offset; at < from; at += kPage) {
        const auto page = static_cast<std::size_t>(at / kPage);
        copy[page] = disk[page].load(std::memory_order_relaxed);
      }
    }
  };
  std::vector<std::thread> writers;
  for (unsigned number = 0; number < kWriters; ++number) {
    writers.emplace_back([&, number] {
      std::mt19937_64 random(seed + number);
      for (std::uint64_t i = 0; i < 20000; ++i) {
        const std::uint64_t page = random() % kPages;
        map.reserve(page * kPage, kPage);
        disk[static_cast<std::size_t>(page)].store(random(), std::memory_order_relaxed);
        map.mark(page * kPage, kPage);
      }
      --writing;
    });
  }
  while (writing != 0) copy_all();
  for (std::thread& writer : writers) writer.join();
  copy_all();
  for (std::size_t page = 0; page < kPages; ++page) EXPECT_EQ(copy[page], disk[page].load());
  EXPECT_EQ(map.dirty_pages(), 0U);
}

// Each word of bits is marked once, while a copier looks at just that word: no later mark hides a
// page that was lost.
TEST(DirtyMap, AMarkIsFoundThoughACopierLooksAtThatMoment) {
  constexpr std::uint64_t kStride = 64;
  constexpr std::uint64_t kMarks = 200000;
  DirtyMap map(kMarks * kStride * kPage);
  map.reserve(0, map.disk_bytes());
  std::atomic<std::uint64_t> next{0};
  std::thread writer([&] {
    for (std::uint64_t i = 0; i < kMarks; ++i) {
      next.store(i, std::memory_order_relaxed);
      map.mark(i * kStride * kPage, kPage);
    }
    next = kMarks;
  });
  std::uint64_t found = 0;
  while (next != kMarks) {
    if (map.take(next * kStride * kPage, kPage)) ++found;
  }
  writer.join();
  std::uint64_t from = 0;
  while (const auto range = map.take(from, kPage)) {
    from = range->offset + range->length;
    ++found;
  }
  EXPECT_EQ(found, kMarks);
}

TEST(DirtyMap, SaysOfAPageWhetherItIsDirty) {
  const std::uint64_t leaf = 128 * 1024 * 1024;
  DirtyMap map(3 * leaf + 512);
  EXPECT_FALSE(map.is_dirty(0));
  mark(map, leaf + 70 * kPage + 512, 512);
  mark(map, 3 * leaf, 512);  // the last one, which is short
  for (const std::uint64_t page : {0U, 69U, 71U}) EXPECT_FALSE(map.is_dirty(leaf + page * kPage));
  EXPECT_TRUE(map.is_dirty(leaf + 70 * kPage));
  EXPECT_TRUE(map.is_dirty(leaf + 71 * kPage - 1));
  EXPECT_TRUE(map.is_dirty(3 * leaf + 511));
  EXPECT_FALSE(map.is_dirty(70 * kPage));
  map.clean(leaf, leaf);
  EXPECT_FALSE(map.is_dirty(leaf + 70 * kPage));
  EXPECT_TRUE(map.is_dirty(3 * leaf));
}

TEST(DirtyMap, CopiersThatTakeAtOnceNeverGetTheSamePage) {
  constexpr std::uint64_t kPages = 5000;
  DirtyMap map(kPages * kPage);
  mark(map, 0, kPages * kPage);
  std::vector<std::atomic<int>> times(kPages);
  const auto take_all = [&] {
    std::uint64_t from = 0;
    while (const auto range = map.take(from, 7 * kPage)) {
      from = range->offset + range->length;
      for (std::uint64_t at = range->offset; at < from; at += kPage) ++times[at / kPage];
    }
  };
  std::vector<std::thread> copiers;
  for (int i = 0; i < 3; ++i) copiers.emplace_back(take_all);
  for (std::thread& copier : copiers) copier.join();
  take_all();  // what was passed over meanwhile
  for (const auto& count : times) EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace vhdxm::transfer
