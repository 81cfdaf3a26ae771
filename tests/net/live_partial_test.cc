// What arrives of a disk in use: a partial that is a whole VHDX, written in passes.

#include <gtest/gtest.h>

#include <filesystem>

#include "base/directory.h"
#include "tests/net/disk_file.h"
#include "tests/net/live_guest.h"
#include "tests/support/expect_error.h"
#include "transfer/errc.h"
#include "transfer/incoming_disk.h"

namespace vhdxm::transfer {
namespace {

using test::failed_with;
using test::succeeded;
using vhdx::kMiB;

constexpr std::uint64_t kSeed = 5;

class LivePartial : public testing::Test {
 protected:
  static OfferDisk offer() {
    OfferDisk disk;
    disk.name = "a.vhdx";
    disk.description.geometry = test::small_geometry(4 * kMiB);
    disk.description.virtual_disk_id.bytes[0] = 1;
    return disk;
  }
  /// Blocks 0 and 1 have content.
  static vhdx::BlockPlan plan() {
    vhdx::BlockPlan blocks(offer().description.geometry);
    blocks.set(0, vhdx::BlockUse::kFull);
    blocks.set(1, vhdx::BlockUse::kFull);
    return blocks;
  }
  Result<std::unique_ptr<IncomingDisk>> start(JobKind kind = JobKind::kLive) {
    return IncomingDisk::start(*folder_, offer(), plan(), kSeed, JobId{1}, kHeldRangesMax, kind);
  }

  FrameHeader frame(FrameKind kind, std::uint32_t pass, std::uint64_t offset,
                    std::uint64_t length) {
    return {.kind = kind, .pass = pass, .virtual_offset = offset, .raw_length = length};
  }
  /// Applies data, and notes it in `ledger_` and `content_`.
  Result<void> data(IncomingDisk& disk, std::uint32_t pass, std::uint64_t offset,
                    std::uint64_t length, std::uint8_t value) {
    const std::vector<std::byte> bytes(static_cast<std::size_t>(length), std::byte{value});
    FrameHeader header = frame(FrameKind::kData, pass, offset, length);
    header.wire_length = static_cast<std::uint32_t>(length);
    header.hash = hash128(bytes, kSeed);
    VHDXM_TRY_VOID(disk.apply(header, bytes, scratch_));
    std::copy(bytes.begin(), bytes.end(), content_.begin() + static_cast<std::ptrdiff_t>(offset));
    ledger_.add(header);
    return {};
  }
  Result<void> clear(IncomingDisk& disk, FrameKind kind, std::uint32_t pass, std::uint64_t offset,
                     std::uint64_t length) {
    const FrameHeader header = frame(kind, pass, offset, length);
    VHDXM_TRY_VOID(disk.apply(header, {}, scratch_));
    std::fill_n(content_.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
    ledger_.add(header);
    return {};
  }
  /// The whole first pass, up to the seal.
  void first_pass(IncomingDisk& disk) {
    ASSERT_TRUE(succeeded(data(disk, 1, 0, 2 * kMiB, 1)));
    ASSERT_TRUE(succeeded(clear(disk, FrameKind::kUnmapped, 1, 2 * kMiB, 2 * kMiB)));
    ASSERT_TRUE(succeeded(disk.seal({.disk = 0,
                                     .ledger = ledger_.sum(),
                                     .entries = ledger_.entries(),
                                     .raw_bytes = ledger_.raw_bytes()})));
  }
  PassLedger mine() const {
    return {
        .ledger = ledger_.sum(), .entries = ledger_.entries(), .raw_bytes = ledger_.raw_bytes()};
  }

  test::TempFolder temp_;
  const std::unique_ptr<Directory> folder_ = Directory::open(temp_.path()).value();
  std::vector<std::byte> scratch_ = std::vector<std::byte>(kCellBytes);
  std::vector<std::byte> content_ = std::vector<std::byte>(4 * kMiB);
  Ledger ledger_{kSeed};
};

TEST_F(LivePartial, LaterPassesWriteAnywhereAndTheLastOneHolds) {
  auto disk = start();
  ASSERT_TRUE(succeeded(disk));
  first_pass(**disk);
  // A block that the plan did not know, parts of others, a whole one that is gone.
  ASSERT_TRUE(succeeded(data(**disk, 2, 3 * kMiB + 4096, 8192, 2)));
  ASSERT_TRUE(succeeded(clear(**disk, FrameKind::kUnmapped, 2, 0, kMiB)));
  ASSERT_TRUE(succeeded(clear(**disk, FrameKind::kZero, 2, kMiB + 512, 1024)));
  ASSERT_TRUE(succeeded((**disk).end_pass(mine())));
  ASSERT_TRUE(succeeded(data(**disk, 3, 4096, 4096, 3)));
  ASSERT_TRUE(succeeded(clear(**disk, FrameKind::kUnmapped, 3, kMiB + 4096, 2 * kMiB)));
  ASSERT_TRUE(succeeded((**disk).end_pass(mine())));
  EXPECT_EQ((**disk).pass_ledger(), mine());
  EXPECT_EQ(test::names_in(temp_), test::Names{"a.vhdx.partial"});
  ASSERT_TRUE(succeeded((**disk).close_for_owner({.uid = {}, .gid = {}, .mode = 0640})));
  EXPECT_FALSE(std::filesystem::is_empty(temp_ / kStateFolderName)) << "an owner does not wait";
  (**disk).forget();
  disk->reset();
  expect_disk(temp_ / "a.vhdx.partial", content_);
  EXPECT_TRUE(std::filesystem::is_empty(temp_ / kStateFolderName));
}

TEST_F(LivePartial, FramesOfAnotherPassAreRefused) {
  for (const std::uint32_t pass : {0U, 1U, 3U}) {
    SCOPED_TRACE(pass);
    ledger_ = Ledger(kSeed);
    auto disk = start();
    ASSERT_TRUE(succeeded(disk));
    first_pass(**disk);
    EXPECT_TRUE(failed_with(data(**disk, pass, 0, 4096, 2), Errc::kProtocol));
    EXPECT_TRUE((**disk).end_pass(mine()).has_error()) << "errors are sticky";
    (**disk).discard();
  }
}

TEST_F(LivePartial, WhatHasNoPlaceInALaterPassIsRefused) {
  for (const FrameKind kind : {FrameKind::kSame, FrameKind::kTransparent}) {
    ledger_ = Ledger(kSeed);
    auto disk = start();
    ASSERT_TRUE(succeeded(disk));
    first_pass(**disk);
    EXPECT_TRUE(failed_with(clear(**disk, kind, 2, 0, kCellBytes), Errc::kProtocol));
    (**disk).discard();
  }
  ledger_ = Ledger(kSeed);
  auto disk = start();
  ASSERT_TRUE(succeeded(disk));
  first_pass(**disk);
  EXPECT_TRUE(failed_with((**disk).apply(frame(FrameKind::kZero, 2, 4 * kMiB, 512), {}, scratch_),
                          Errc::kProtocol))
      << "outside the disk";
}

TEST_F(LivePartial, LedgersThatDifferEndIt) {
  auto disk = start();
  ASSERT_TRUE(succeeded(disk));
  first_pass(**disk);
  ASSERT_TRUE(succeeded(data(**disk, 2, 0, 4096, 2)));
  PassLedger other = mine();
  other.ledger += Hash128{.low = 1, .high = 0};
  EXPECT_TRUE(failed_with((**disk).end_pass(other), Errc::kLedgerMismatch));
  disk->reset();
  EXPECT_TRUE(test::names_in(temp_).empty()) << "what cannot be relied on is not kept";
}

TEST_F(LivePartial, WhatIsPreparedIsKeptWhateverHappens) {
  auto disk = start();
  ASSERT_TRUE(succeeded(disk));
  first_pass(**disk);
  ASSERT_TRUE(succeeded((**disk).end_pass(mine())));
  (**disk).keep_always(true);
  (**disk).discard();
  EXPECT_TRUE(failed_with(data(**disk, 1, 0, 4096, 2), Errc::kProtocol));
  disk->reset();
  EXPECT_EQ(test::names_in(temp_), test::Names{"a.vhdx.partial"});
  expect_disk(temp_ / "a.vhdx.partial", content_);
}

TEST_F(LivePartial, IsGoneOnWithByLiveJobsOnly) {
  {
    auto disk = start();
    ASSERT_TRUE(succeeded(disk));
    EXPECT_EQ((**disk).partial(), PartialState::kNone);
    ASSERT_TRUE(succeeded(data(**disk, 1, 0, kMiB, 1)));  // and then it breaks
  }
  {
    auto again = start();
    ASSERT_TRUE(succeeded(again));
    EXPECT_EQ((**again).partial(), PartialState::kResumed);
    ASSERT_EQ((**again).held().size(), 1u);
    EXPECT_EQ((**again).held()[0], (HeldRange{.offset = 0, .length = 2 * kMiB}));
    const auto hashed = (**again).hash_cells(8);
    ASSERT_EQ(hashed.hashes.size(), 8U);
    EXPECT_NE(hashed.hashes[3], Hash128{});
    EXPECT_EQ(hashed.hashes[4], Hash128{}) << "it never came";
  }
  auto copy = start(JobKind::kCopy);
  ASSERT_TRUE(succeeded(copy));
  EXPECT_EQ((**copy).partial(), PartialState::kReplaced);
  copy->reset();
  auto live = start();
  ASSERT_TRUE(succeeded(live));
  EXPECT_EQ((**live).partial(), PartialState::kReplaced);
}

}  // namespace
}  // namespace vhdxm::transfer
