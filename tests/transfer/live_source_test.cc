// Disks in use as they are sent: whatever happens between plan, map, read and acknowledgement, and
// whichever frames are lost, the passes bring it all, and never something older over something
// newer.
#include "transfer/live_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/writable_disk.h"
#include "tests/transfer/copier.h"
#include "transfer/extent_queue.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using test::failed_with;
using test::succeeded;
using vhdx::ExtentKind;

constexpr std::uint64_t kBlock = 1024 * 1024;

std::shared_ptr<LiveDisk> new_disk(std::shared_ptr<SharedGate> gate,
                                   const test::DiskKind& kind = {}) {
  const test::WritableDisk made(kind);
  auto writer = made.open(made.file().clone());
  EXPECT_TRUE(succeeded(writer));
  return std::make_shared<LiveDisk>(std::move(*writer), std::move(gate));
}

void change_something(LiveDisk& disk, std::mt19937_64& random) {
  const std::uint64_t sector = disk.geometry().logical_sector_bytes;
  const std::uint64_t sectors = disk.size_bytes() / sector;
  const std::uint64_t first = random() % sectors;
  const std::uint64_t longest = random() % 8 == 0 ? sectors : 24;
  const std::uint64_t length = (1 + random() % std::min(longest, sectors - first)) * sector;
  const std::uint64_t offset = first * sector;
  switch (random() % 6) {
    case 0:
      ASSERT_TRUE(succeeded(disk.trim(offset, length, LiveDisk::Durability::kAtFlush)));
      return;
    case 1:
      ASSERT_TRUE(succeeded(disk.write_zeroes(offset, length, LiveDisk::Zeroing::kMayTrim,
                                              LiveDisk::Durability::kAtFlush)));
      return;
    default: {
      std::vector<std::byte> bytes(static_cast<std::size_t>(length));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
      ASSERT_TRUE(succeeded(disk.write(offset, bytes, LiveDisk::Durability::kAtFlush)));
    }
  }
}

void expect_same(LiveDisk& disk, const std::vector<std::byte>& content) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(disk.size_bytes()));
  ASSERT_TRUE(succeeded(disk.read(0, bytes)));
  const auto differs = std::mismatch(bytes.begin(), bytes.end(), content.begin());
  EXPECT_TRUE(differs.first == bytes.end())
      << "first at " << differs.first - bytes.begin() << " of " << bytes.size();
}

class LiveSourceOfKind : public testing::TestWithParam<test::DiskKind> {};

TEST_P(LiveSourceOfKind, PassesBringAllWhateverHappensInBetween) {
  const std::uint64_t seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  std::uint64_t lost = 0;
  const int rounds = std::max(4, test::rounds(12));
  // More if nothing was lost in these, as can be.
  for (int round = 0; round < rounds || (lost == 0 && round < 20 * rounds); ++round) {
    const auto gate = std::make_shared<SharedGate>();
    std::vector<MovingDisk> disks = {{new_disk(gate, GetParam()), "a.vhdx"},
                                     {new_disk(gate, GetParam()), "b.vhdx"}};
    for (const MovingDisk& one : disks) {
      for (int i = 0; i < 12; ++i) change_something(*one.disk, random);
    }
    auto source = LiveSource::start(disks);
    ASSERT_TRUE(succeeded(source));
    Copier copier(**source, random);
    const auto meanwhile = [&] {
      if (random() % 3 == 0) change_something(*disks[random() % 2].disk, random);
    };
    for (std::uint32_t disk = 0; disk < 2; ++disk) copier.first_pass(disk, meanwhile);
    std::uint32_t pass = 2;
    for (; pass < 5; ++pass) copier.pass(pass, meanwhile);
    // Held: nobody writes any more, but streams go on breaking.
    while ((*source)->dirty_bytes() > 0) copier.pass(pass++, [] {});
    for (std::uint32_t disk = 0; disk < 2; ++disk) {
      expect_same(*disks[disk].disk, copier.content[disk]);
    }
    lost += copier.lost;
  }
  EXPECT_GT(lost, 0U) << "no frame was lost: this proves less than it should";
}

std::vector<test::DiskKind> kinds_that_move() {
  auto kinds = test::all_disk_kinds();
  std::erase_if(
      kinds, [](const test::DiskKind& kind) { return kind.type == vhdx::DiskType::kDifferencing; });
  return kinds;
}

INSTANTIATE_TEST_SUITE_P(Kinds, LiveSourceOfKind, testing::ValuesIn(kinds_that_move()),
                         [](const auto& one) { return test::to_string(one.param); });

TEST(LiveSource, ABlockThatGrewAfterThePlanComesWithTheNextPass) {
  const auto gate = std::make_shared<SharedGate>();
  const auto disk = new_disk(gate);
  const std::vector<std::byte> bytes(4096, std::byte{7});
  ASSERT_TRUE(succeeded(disk->write(0, bytes, LiveDisk::Durability::kAtFlush)));
  auto source = LiveSource::start({{disk, "a.vhdx"}});
  ASSERT_TRUE(succeeded(source));
  EXPECT_EQ((*source)->payload_bytes(0), kBlock);
  ASSERT_TRUE(succeeded(disk->write(3 * kBlock, bytes, LiveDisk::Durability::kAtFlush)));
  std::vector<vhdx::Extent> extents;
  vhdx::DiskView& view = (*source)->view(0);
  ASSERT_TRUE(succeeded(view.map(0, disk->size_bytes(), extents, 100)));
  ASSERT_EQ(extents.size(), 2U) << "the plan's blocks, whatever there is by now";
  EXPECT_EQ(extents[0].kind, ExtentKind::kData);
  EXPECT_EQ(extents[0].length, kBlock);
  EXPECT_EQ(extents[1].kind, ExtentKind::kUnmapped);
  EXPECT_EQ((*source)->dirty_bytes(), 4096U);
  // And in the passes after the first it is there.
  const auto live = (*source)->sources();
  extents.clear();
  ASSERT_TRUE(succeeded(live[0].view->map(3 * kBlock, 4096, extents, 100)));
  EXPECT_EQ(extents[0].kind, ExtentKind::kData);
}

TEST(LiveSource, ABlockThatWasTrimmedAfterThePlanIsStillWhole) {
  const auto gate = std::make_shared<SharedGate>();
  const auto disk = new_disk(gate);
  const std::vector<std::byte> bytes(2 * kBlock, std::byte{7});
  ASSERT_TRUE(succeeded(disk->write(0, bytes, LiveDisk::Durability::kAtFlush)));
  auto source = LiveSource::start({{disk, "a.vhdx"}});
  ASSERT_TRUE(succeeded(source));
  std::vector<vhdx::Extent> extents;
  ASSERT_TRUE(succeeded((*source)->view(0).map(0, 2 * kBlock, extents, 100)));
  ASSERT_EQ(extents.size(), 1U);
  // Mapped as data, trimmed before it is read: zeros are read, and it is dirty.
  ASSERT_TRUE(succeeded(disk->trim(0, kBlock, LiveDisk::Durability::kAtFlush)));
  std::vector<std::byte> read(kBlock, std::byte{1});
  ASSERT_TRUE(succeeded(read_exact_at(*extents[0].file, extents[0].file_offset, read, "test")));
  EXPECT_TRUE(std::all_of(read.begin(), read.end(), [](std::byte b) { return b == std::byte{0}; }));
  EXPECT_EQ((*source)->dirty_bytes(), kBlock);
}

TEST(LiveSource, TracksFromBeforeThePlanAndUntilItEnds) {
  const auto gate = std::make_shared<SharedGate>();
  const auto disk = new_disk(gate);
  {
    auto source = LiveSource::start({{disk, "a.vhdx"}});
    ASSERT_TRUE(succeeded(source));
    EXPECT_EQ(gate->state(), WriteGate::State::kTracking);
    EXPECT_TRUE(failed_with(LiveSource::start({{disk, "a.vhdx"}}), Errc::kBusy));
    gate->throttle(5);
    gate->hold();
  }
  EXPECT_EQ(gate->state(), WriteGate::State::kOpen) << "writes go ahead however it ended";
  EXPECT_EQ(gate->throttled_to(), 0U);
  {
    auto source = LiveSource::start({{disk, "a.vhdx"}});
    ASSERT_TRUE(succeeded(source));
    ASSERT_TRUE(gate->fence(gate->hold()));
  }
  EXPECT_EQ(gate->state(), WriteGate::State::kFenced) << "but not when they are another's";
}

TEST(LiveSource, OneThatWasStoppedLeavesTheNextAlone) {
  const auto gate = std::make_shared<SharedGate>();
  const auto disk = new_disk(gate);
  auto earlier = LiveSource::start({{disk, "a.vhdx"}});
  ASSERT_TRUE(succeeded(earlier));
  (*earlier)->stop();
  auto source = LiveSource::start({{disk, "a.vhdx"}});
  ASSERT_TRUE(succeeded(source));
  gate->throttle(5);
  (*earlier)->stop();
  earlier->reset();
  EXPECT_EQ(gate->state(), WriteGate::State::kTracking);
  EXPECT_EQ(gate->throttled_to(), 5U);
}

TEST(LiveSource, WhatAnEarlierJobMarkedIsForgotten) {
  const auto gate = std::make_shared<SharedGate>();
  const auto disk = new_disk(gate);
  for (int i = 0; i < 2; ++i) {
    auto source = LiveSource::start({{disk, "a.vhdx"}});
    ASSERT_TRUE(succeeded(source));
    EXPECT_EQ((*source)->dirty_bytes(), 0U);
    const std::vector<std::byte> bytes(4096, std::byte{7});
    ASSERT_TRUE(succeeded(disk->write(0, bytes, LiveDisk::Durability::kAtFlush)));
    EXPECT_EQ((*source)->dirty_bytes(), 4096U);
  }
}

}  // namespace
}  // namespace vhdxm::transfer
