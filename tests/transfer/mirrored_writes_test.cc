// Guests' writes that are acknowledged when both sides have them: they do have them then, whatever
// is copied beside them, and whichever streams break; and nobody waits who need not.
#include "transfer/mirrored_writes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/writable_disk.h"
#include "tests/transfer/copier.h"
#include "transfer/busy_ranges.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using test::succeeded;

constexpr std::uint64_t kPage = kDirtyPageBytes;

std::shared_ptr<LiveDisk> mirrored_disk(std::shared_ptr<SharedGate> gate) {
  const test::WritableDisk made(test::DiskKind{});
  auto writer = made.open(made.file().clone());
  EXPECT_TRUE(succeeded(writer));
  return std::make_shared<LiveDisk>(std::move(*writer), std::move(gate));
}

TEST(BusyRanges, AreWhatABitForEachPageSays) {
  const std::uint64_t seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  constexpr std::uint64_t kPages = 60;
  BusyRanges ranges;
  std::vector<bool> busy(kPages);
  for (int step = 0; step < 20'000; ++step) {
    const std::uint64_t first = random() % kPages;
    const std::uint64_t count = 1 + random() % std::min<std::uint64_t>(12, kPages - first);
    std::uint64_t same = 1;
    while (same < count && busy[first + same] == busy[first]) ++same;
    const auto run = ranges.run(first * kPage, count * kPage);
    ASSERT_EQ(run.busy, busy[first]);
    // A run of pages that were added one by one may be told in pieces, one that is free is whole.
    ASSERT_LE(run.length, same * kPage);
    if (!run.busy) {
      ASSERT_EQ(run.length, same * kPage);
    }
    const bool overlaps = std::any_of(busy.begin() + static_cast<std::ptrdiff_t>(first),
                                      busy.begin() + static_cast<std::ptrdiff_t>(first + count),
                                      [](bool one) { return one; });
    ASSERT_EQ(ranges.overlaps(first * kPage, count * kPage), overlaps);
    const bool removes = random() % 2 == 0;
    if (!removes && overlaps) continue;
    if (removes) {
      ranges.remove(first * kPage, count * kPage);
    } else {
      ranges.add(first * kPage, count * kPage);
    }
    for (std::uint64_t page = first; page < first + count; ++page) busy[page] = !removes;
    ASSERT_EQ(ranges.empty(), std::none_of(busy.begin(), busy.end(), [](bool one) { return one; }));
  }
}

TEST(MirroredWrites, AreCutOnTheGridAndRoundedToPages) {
  MirroredWrites writes;
  const std::uint64_t disk_bytes = 10 * kPage + 512;
  EXPECT_EQ(writes.last(), 0U);
  const auto first = writes.add(3, 3 * kPage + 512, 2 * kPage, disk_bytes, 4 * kPage);
  const auto second = writes.add(0, 10 * kPage, 512, disk_bytes, 4 * kPage);
  ASSERT_EQ(writes.waiting().size(), 3U);
  const auto range = [&](std::size_t i) {
    const MirroredWrites::Part& part = writes.waiting()[i];
    return std::tuple(part.write, part.disk, part.offset, part.length);
  };
  EXPECT_EQ(range(0), std::tuple(first, 3U, 3 * kPage, kPage));
  EXPECT_EQ(range(1), std::tuple(first, 3U, 4 * kPage, 2 * kPage));
  EXPECT_EQ(range(2), std::tuple(second, 0U, 10 * kPage, 512U)) << "the disk ends there";
  const MirroredWrites::Part taken = writes.waiting().front();
  writes.waiting().pop_front();
  writes.arrived(first, kPage);
  EXPECT_FALSE(writes.done(first));
  writes.came_back({first, 3, 4 * kPage, 2 * kPage});
  EXPECT_EQ(writes.waiting().size(), 3U);
  writes.arrived(first, 2 * kPage);
  EXPECT_TRUE(writes.done(first));
  writes.drop(first);
  EXPECT_FALSE(writes.done(first));
  writes.came_back(taken);
  EXPECT_EQ(writes.waiting().size(), 1U) << "nobody waits for it: it is dirty, that is enough";
  EXPECT_FALSE(writes.waits_up_to(first));
  EXPECT_TRUE(writes.waits_up_to(second));
}

/// A guest with a part of the disk of its own, which may begin and end inside a page.
class MirroredGuest {
 public:
  MirroredGuest(LiveDisk& disk, Copier& copier, std::uint32_t number, std::uint64_t begin,
                std::uint64_t bytes, std::uint64_t seed)
      : disk_(disk), copier_(copier), number_(number), begin_(begin), model_(bytes), random_(seed) {
    EXPECT_TRUE(succeeded(disk_.read(begin_, model_)));
  }

  /// `period`: odd while every write is mirrored; another one whenever that begins or ends.
  void run(unsigned writes, const std::atomic<unsigned>& period) {
    for (unsigned i = 0; i < writes; ++i) {
      const unsigned before = period;
      change();
      // Unless nobody waited any more for a while in between.
      if (before % 2 == 1 && period == before) expect_there(last_, last_bytes_);
    }
    ended = true;
  }
  void expect_all_there() { expect_there(0, model_.size()); }

  std::atomic<bool> ended{false};

 private:
  /// Units: bytes, from where its part begins.
  void expect_there(std::uint64_t offset, std::uint64_t length) {
    const auto mine = std::span(model_).subspan(offset, length);
    const std::lock_guard lock(copier_.mutex);
    const auto there = std::span(copier_.content[number_]).subspan(begin_ + offset, length);
    EXPECT_TRUE(std::equal(mine.begin(), mine.end(), there.begin()))
        << "a write was acknowledged, and the other side does not have it";
  }
  void change() {
    const std::uint64_t sectors = model_.size() / 512;
    const std::uint64_t first = random_() % sectors;
    const std::uint64_t longest = random_() % 16 == 0 ? sectors : 20;
    const std::uint64_t count = 1 + random_() % std::min(longest, sectors - first);
    const auto part = std::span(model_).subspan(first * 512, count * 512);
    last_ = first * 512;
    last_bytes_ = part.size();
    const std::uint64_t at = begin_ + last_;
    const auto kind = random_() % 6;
    if (kind < 2) {
      std::fill(part.begin(), part.end(), std::byte{0});
    } else {
      for (std::byte& byte : part) byte = static_cast<std::byte>(random_());
    }
    const auto durability = LiveDisk::Durability::kAtFlush;
    const auto done =
        kind == 0   ? disk_.trim(at, part.size(), durability)
        : kind == 1 ? disk_.write_zeroes(at, part.size(), LiveDisk::Zeroing::kMayTrim, durability)
                    : disk_.write(at, part, durability);
    EXPECT_TRUE(succeeded(done));
  }

  LiveDisk& disk_;
  Copier& copier_;
  const std::uint32_t number_;
  const std::uint64_t begin_;
  std::vector<std::byte> model_;
  std::uint64_t last_ = 0;  ///< Where the last change was.
  std::uint64_t last_bytes_ = 0;
  std::mt19937_64 random_;
};

TEST(MirroredWrites, AreAtTheOtherSideWhenTheyAreAcknowledged) {
  const std::uint64_t seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  const auto gate = std::make_shared<SharedGate>();
  const std::vector<MovingDisk> disks = {{mirrored_disk(gate), "a.vhdx"},
                                         {mirrored_disk(gate), "b.vhdx"}};
  auto source = LiveSource::start(disks);
  ASSERT_TRUE(succeeded(source));
  Copier copier(**source, random);
  for (std::uint32_t disk = 0; disk < 2; ++disk) copier.first_pass(disk, [] {});
  // Something for the background copy, beside the guests.
  const std::vector<std::byte> old(3 * 1024 * 1024, std::byte{5});
  for (const MovingDisk& one : disks) {
    ASSERT_TRUE(succeeded(one.disk->write(0, old, LiveDisk::Durability::kAtFlush)));
  }
  const std::atomic<unsigned> period{1};
  const auto mirror_on = [&] {
    copier.queue()->start_mirroring({.patience = 1h, .copy_bytes_max = 256 * 1024, .pass_min = {}});
  };
  mirror_on();
  (*source)->mirror_over(copier.queue());
  std::vector<std::unique_ptr<MirroredGuest>> guests;
  std::vector<std::thread> threads;
  // Two on one disk, side by side in one page; what they write to is copied in the background, too.
  constexpr std::uint64_t kOwn = 1024 * 1024 + 1024;
  for (const auto& [disk, begin] :
       {std::pair(0U, 512U), std::pair(0U, 512U + 1025U * 1024), std::pair(1U, 2U * 1024 * 1024)}) {
    guests.push_back(
        std::make_unique<MirroredGuest>(*disks[disk].disk, copier, disk, begin, kOwn, random()));
    threads.emplace_back([&guest = *guests.back(), &period] { guest.run(250, period); });
  }
  std::uint32_t pass = 2;
  const auto running = [&] {
    return std::any_of(guests.begin(), guests.end(), [](const auto& one) { return !one->ended; });
  };
  for (; running(); ++pass) {
    mirror_on();
    copier.pass(pass, [] {});
  }
  for (std::thread& thread : threads) thread.join();
  const ExtentQueue::MirrorState state = copier.queue()->mirror_state();
  EXPECT_EQ(state.writes, 3U * 250);
  EXPECT_EQ(state.left_dirty, 0U);
  EXPECT_GE(state.bytes, 3U * 250 * 512);
  EXPECT_TRUE(state.on);
  EXPECT_GT(copier.lost, 0U) << "streams broke";
  copier.queue()->stop_mirroring();
  while ((*source)->dirty_bytes() > 0) copier.pass(pass++, [] {});
  for (std::uint32_t disk = 0; disk < 2; ++disk) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(disks[disk].disk->size_bytes()));
    ASSERT_TRUE(succeeded(disks[disk].disk->read(0, bytes)));
    EXPECT_TRUE(bytes == copier.content[disk]);
  }
}

TEST(MirroredWrites, GuestsThatStopBeingMirroredLoseNothing) {
  const std::uint64_t seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  const auto gate = std::make_shared<SharedGate>();
  const auto disk = mirrored_disk(gate);
  auto source = LiveSource::start({{disk, "a.vhdx"}});
  ASSERT_TRUE(succeeded(source));
  Copier copier(**source, random);
  copier.first_pass(0, [] {});
  std::atomic<unsigned> period{0};
  MirroredGuest guest(*disk, copier, 0, 0, 2 * 1024 * 1024, random());
  std::uint32_t pass = 2;
  // The period is of those who wait for certain: it begins after mirroring has, and ends before.
  const auto on = [&] {
    copier.queue()->start_mirroring({.patience = 1h, .copy_bytes_max = 256 * 1024, .pass_min = {}});
    if (period % 2 == 0) ++period;
  };
  const auto off = [&] {
    if (period % 2 == 1) ++period;
    copier.queue()->stop_mirroring();
  };
  on();
  (*source)->mirror_over(copier.queue());
  std::thread thread([&] { guest.run(400, period); });
  // On and off, in the middle of passes, too.
  for (; !guest.ended; ++pass) {
    random() % 2 == 0 ? on() : off();
    copier.pass(pass, [&] {
      if (random() % 64 == 0) off();
    });
  }
  thread.join();
  copier.queue()->stop_mirroring();
  while ((*source)->dirty_bytes() > 0) copier.pass(pass++, [] {});
  guest.expect_all_there();
}

/// A disk with a page dirty, and a queue from which nobody pulls.
struct UnansweredQueue {
  std::mt19937_64 random{1};
  std::shared_ptr<LiveDisk> disk = mirrored_disk(std::make_shared<SharedGate>());
  std::unique_ptr<LiveSource> source = LiveSource::start({{disk, "a.vhdx"}}).value();
  Copier copier{*source, random};

  void mirror_with(std::chrono::steady_clock::duration patience) {
    copier.queue()->start_mirroring(
        {.patience = patience, .copy_bytes_max = 256 * 1024, .pass_min = {}});
    source->mirror_over(copier.queue());
  }
  Result<void> write() {
    const std::vector<std::byte> bytes(kPage, std::byte{7});
    return disk->write(0, bytes, LiveDisk::Durability::kAtFlush);
  }
};

TEST(MirroredWrites, OneThatIsNotAnsweredInAPassEndsMirroring) {
  UnansweredQueue one;
  one.mirror_with(1ms);
  one.copier.queue()->begin_pass(2, one.source->sources(), [] {});
  ASSERT_TRUE(succeeded(one.write()));
  const ExtentQueue::MirrorState state = one.copier.queue()->mirror_state();
  EXPECT_TRUE(state.gave_up);
  EXPECT_FALSE(state.on);
  EXPECT_EQ(state.left_dirty, 1U);
  EXPECT_EQ(one.source->dirty_bytes(), kPage) << "it comes with the passes";
  ASSERT_TRUE(succeeded(one.write()));
  EXPECT_EQ(one.copier.queue()->mirror_state().left_dirty, 1U) << "nobody waits any more";
  one.copier.queue()->stop();
}

TEST(MirroredWrites, AShorterPatienceHoldsForThoseThatWait) {
  UnansweredQueue one;
  one.mirror_with(1h);
  one.copier.queue()->begin_pass(2, one.source->sources(), [] {});
  std::thread writer([&] { EXPECT_TRUE(succeeded(one.write())); });
  while (one.source->dirty_bytes() == 0) std::this_thread::yield();
  one.copier.queue()->set_mirror_patience(1ms);
  writer.join();
  EXPECT_TRUE(one.copier.queue()->mirror_state().gave_up);
  one.copier.queue()->set_mirror_patience(1h);
  EXPECT_FALSE(one.copier.queue()->mirror_state().on);
  one.copier.queue()->stop();
}

TEST(MirroredWrites, OneThatComesBetweenPassesIsLeftDirtyAndMirroringGoesOn) {
  UnansweredQueue one;
  one.mirror_with(1ms);
  ASSERT_TRUE(succeeded(one.write()));
  const ExtentQueue::MirrorState state = one.copier.queue()->mirror_state();
  EXPECT_FALSE(state.gave_up);
  EXPECT_TRUE(state.on);
  EXPECT_EQ(state.left_dirty, 1U);
  EXPECT_EQ(one.source->dirty_bytes(), kPage);
  // One that is too large to be waited for.
  one.mirror_with(1h);
  one.copier.queue()->mirror(0, 0, ExtentQueue::kMirroredBytesMax + 1,
                             ExtentQueue::kMirroredBytesMax + 1);
  EXPECT_EQ(one.copier.queue()->mirror_state().left_dirty, 2U);
}

TEST(MirroredWrites, ThoseThatWaitAreLetGoWhenItStops) {
  for (const bool whole_queue : {false, true}) {
    UnansweredQueue one;
    one.mirror_with(1h);
    std::atomic<bool> written{false};
    std::thread writer([&] {
      EXPECT_TRUE(succeeded(one.write()));
      written = true;
    });
    while (one.source->dirty_bytes() == 0) std::this_thread::yield();
    EXPECT_FALSE(written);
    if (whole_queue) {
      one.copier.queue()->stop();
    } else {
      one.copier.queue()->stop_mirroring();
    }
    writer.join();
    EXPECT_EQ(one.source->dirty_bytes(), kPage);
    EXPECT_EQ(one.disk->gate().waiting(), 0U);
  }
}

}  // namespace
}  // namespace vhdxm::transfer
