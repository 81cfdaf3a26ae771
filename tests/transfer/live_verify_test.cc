// What the source says of a disk that is read again, and which differences it excuses.
#include "transfer/live_verify.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/expect_error.h"
#include "tests/support/writable_disk.h"
#include "transfer/errc.h"
#include "transfer/page_compare.h"

namespace vhdxm::transfer {
namespace {

using test::succeeded;
constexpr std::uint64_t kPage = kVerifyPageBytes;
constexpr std::uint64_t kMiB = 1024 * 1024;

class LiveVerifyOfADisk : public testing::Test {
 protected:
  void SetUp() override {
    const test::WritableDisk made{test::DiskKind{}};
    auto writer = made.open(made.file().clone());
    ASSERT_TRUE(succeeded(writer));
    disk_ = std::make_shared<LiveDisk>(std::move(*writer), gate_);
    write(kMiB, 2 * kMiB);
    write(4 * kMiB + 3 * kPage, 512);
    auto started = LiveSource::start({{.disk = disk_, .name = "a.vhdx"}});
    ASSERT_TRUE(succeeded(started));
    source_ = std::move(*started);
  }
  void write(std::uint64_t offset, std::uint64_t length) {
    const std::vector<std::byte> bytes(static_cast<std::size_t>(length), std::byte{5});
    ASSERT_TRUE(succeeded(disk_->write(offset, bytes, LiveDisk::Durability::kAtFlush)));
  }

  const std::shared_ptr<SharedGate> gate_ = std::make_shared<SharedGate>();
  std::shared_ptr<LiveDisk> disk_;
  std::unique_ptr<LiveSource> source_;
};

TEST_F(LiveVerifyOfADisk, EveryByteIsSaidOnceAndHolesWithoutReadingThem) {
  LiveVerify verify(*source_, 3);
  std::uint64_t at = 0;
  std::uint64_t data = 0;
  while (true) {
    ASSERT_TRUE(verify.begin_read(0));
    EXPECT_FALSE(verify.begin_read(0)) << "one at a time";
    const auto next = verify.read_next();
    ASSERT_TRUE(succeeded(next));
    verify.on_read(*next);
    if (!*next) break;
    const VerifyRange& range = **next;
    ASSERT_EQ(range.offset, at);
    ASSERT_GT(range.length, 0U);
    at += range.length;
    if (range.hashes.empty()) continue;
    data += range.length;
    std::vector<std::byte> bytes(static_cast<std::size_t>(range.length));
    ASSERT_TRUE(succeeded(disk_->read(range.offset, bytes)));
    EXPECT_EQ(range.hashes, page_hashes(bytes, 3));
    EXPECT_LE(range.hashes.size(), kVerifyHashesMax);
  }
  EXPECT_EQ(at, disk_->size_bytes());
  EXPECT_EQ(data, 3 * kMiB) << "three blocks of 1 MiB have something";
  EXPECT_EQ(verify.read_bytes(), data);
  EXPECT_TRUE(verify.all_read());
  EXPECT_FALSE(verify.begin_read(0));
}

TEST_F(LiveVerifyOfADisk, NoMoreIsAskedThanMayBeUnanswered) {
  LiveVerify verify(*source_, 3);
  EXPECT_FALSE(verify.begin_read(kVerifyRangesMax));
  EXPECT_TRUE(verify.begin_read(kVerifyRangesMax - 1));
}

TEST_F(LiveVerifyOfADisk, OnlyWhatWasWrittenIsLeftOut) {
  LiveVerify verify(*source_, 3);
  write(kMiB + 5 * kPage, 2 * kPage);
  const auto left = verify.left_out(0, kMiB, {5, 6});
  ASSERT_TRUE(succeeded(left));
  EXPECT_EQ(*left, 2 * kPage);
  const auto found = verify.left_out(0, kMiB, {5, 7});
  ASSERT_TRUE(found.has_error());
  EXPECT_EQ(found.error().code, Errc::kVerifyMismatch);
  EXPECT_EQ(found.error().offset, kMiB + 7 * kPage);
  // The last page may be short.
  const std::uint64_t last = disk_->size_bytes() / kPage * kPage;
  ASSERT_LT(last, disk_->size_bytes());
  write(last, 512);
  const auto tail = verify.left_out(0, last, {0});
  ASSERT_TRUE(succeeded(tail));
  EXPECT_EQ(*tail, disk_->size_bytes() - last);
}

TEST_F(LiveVerifyOfADisk, AWriteThatIsNotMarkedYetIsAwaited) {
  LiveVerify verify(*source_, 3);
  for (int round = 0; round < 100; ++round) {
    disk_->dirty().clear();
    disk_->dirty().reserve(0, kPage);
    std::optional<SharedGate::Pass> under_way(gate_->enter().value());
    std::atomic<bool> begun{false};
    std::thread other([&] {
      begun = true;
      const auto left = verify.left_out(0, 0, {0});
      ASSERT_TRUE(succeeded(left));
      EXPECT_EQ(*left, kPage);
    });
    while (!begun) std::this_thread::yield();
    disk_->dirty().mark(0, kPage);
    under_way.reset();
    other.join();
  }
}

}  // namespace
}  // namespace vhdxm::transfer
