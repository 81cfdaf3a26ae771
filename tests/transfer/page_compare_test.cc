// Pages of two disks against each other, wherever one of them has nothing.
#include "transfer/page_compare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/writable_disk.h"

namespace vhdxm::transfer {
namespace {

using test::succeeded;
using Pages = std::vector<std::uint32_t>;

constexpr std::uint64_t kPage = kVerifyPageBytes;
constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr std::uint64_t kSeed = 7;

class PageCompare : public testing::Test {
 protected:
  std::unique_ptr<vhdx::DiskWriter> make(const test::DiskKind& kind = {}) {
    const test::WritableDisk made(kind);
    auto writer = made.open(made.file().clone());
    EXPECT_TRUE(succeeded(writer));
    return std::move(*writer);
  }
  static void write(vhdx::DiskWriter& disk, std::uint64_t offset, std::uint64_t length,
                    std::uint8_t value) {
    const std::vector<std::byte> bytes(static_cast<std::size_t>(length), std::byte{value});
    ASSERT_TRUE(succeeded(disk.write(offset, bytes)));
  }
  static std::vector<std::byte> read(vhdx::DiskWriter& disk, std::uint64_t offset,
                                     std::uint64_t length) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(length));
    EXPECT_TRUE(succeeded(disk.read(offset, bytes)));
    return bytes;
  }
  static VerifyRange said(vhdx::DiskWriter& disk, std::uint64_t offset, std::uint64_t length) {
    return {.disk = 0,
            .offset = offset,
            .length = length,
            .hashes = page_hashes(read(disk, offset, length), kSeed)};
  }
  static VerifyRange nothing(std::uint64_t offset, std::uint64_t length) {
    return {.disk = 0, .offset = offset, .length = length, .hashes = {}};
  }
  Pages differing(vhdx::DiskWriter& disk, const VerifyRange& range) {
    auto found = differing_pages(disk, range, kSeed, scratch_);
    EXPECT_TRUE(succeeded(found));
    return found.has_value() ? *found : Pages{~0U};
  }

  std::vector<std::byte> scratch_ = std::vector<std::byte>(8 * kPage);
};

TEST_F(PageCompare, FindsTheOneByteThatIsOtherwise) {
  const auto ours = make();
  const auto theirs = make();
  write(*ours, 0, kMiB, 1);
  write(*theirs, 0, kMiB, 1);
  EXPECT_EQ(differing(*ours, said(*theirs, 0, kMiB)), Pages{});
  write(*theirs, 77 * kPage + 3584, 512, 2);
  EXPECT_EQ(differing(*ours, said(*theirs, 0, kMiB)), Pages{77});
  EXPECT_EQ(differing(*ours, said(*theirs, 77 * kPage, kPage)), Pages{0});
  EXPECT_EQ(differing(*ours, said(*theirs, 70 * kPage, 7 * kPage)), Pages{});
}

TEST_F(PageCompare, NothingIsTheSameAsZeros) {
  const auto ours = make();
  const auto theirs = make();
  write(*theirs, 0, kMiB, 0);
  EXPECT_EQ(differing(*ours, said(*theirs, 0, kMiB)), Pages{}) << "they wrote zeros, we have none";
  EXPECT_EQ(differing(*theirs, nothing(0, kMiB)), Pages{}) << "the other way round";
  EXPECT_EQ(differing(*ours, nothing(0, ours->virtual_size_bytes())), Pages{});
}

TEST_F(PageCompare, FindsWhatIsThereWhereTheOtherHasNothing) {
  const auto ours = make();
  const std::uint64_t block = ours->geometry().block_bytes;
  write(*ours, block + 3 * kPage + 512, 512, 9);
  write(*ours, 2 * block - kPage, 2 * kPage, 9);  // over the end of the block
  const auto at = static_cast<std::uint32_t>(block / kPage);
  EXPECT_EQ(differing(*ours, nothing(0, 3 * block)), (Pages{at + 3, 2 * at - 1, 2 * at}));
  EXPECT_EQ(differing(*ours, nothing(block + 4 * kPage, block - 5 * kPage)), Pages{});
}

TEST_F(PageCompare, AllSizesAndKindsAgainstAnotherWayToCompare) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < test::rounds(60); ++round) {
    test::DiskKind kind;
    if (random() % 4 == 0) kind.type = vhdx::DiskType::kFixed;
    if (random() % 4 == 0) kind.sector_bytes = 4096;
    const auto ours = make(kind);
    const auto theirs = make(kind);
    const std::uint64_t size = ours->virtual_size_bytes();
    const std::uint64_t sector = kind.sector_bytes;
    for (int i = 0; i < 12; ++i) {
      const std::uint64_t offset = random() % (size / sector) * sector;
      const std::uint64_t length = std::min(size - offset, (1 + random() % 200) * sector);
      const auto value = static_cast<std::uint8_t>(random() % 3);
      if (random() % 5 != 0) write(*ours, offset, length, value);
      if (random() % 5 != 0) write(*theirs, offset, length, value);
      if (random() % 8 == 0) {
        ASSERT_TRUE(succeeded(theirs->trim(offset, length)));
      }
    }
    const std::uint64_t offset = random() % (size / kPage) * kPage;
    const std::uint64_t length = std::min(size - offset, (1 + random() % kVerifyHashesMax) * kPage);
    const std::vector<std::byte> a = read(*ours, offset, length);
    const std::vector<std::byte> b = read(*theirs, offset, length);
    Pages expected;
    for (std::uint64_t page = 0; page * kPage < length; ++page) {
      const auto begin = static_cast<std::ptrdiff_t>(page * kPage);
      const auto end = static_cast<std::ptrdiff_t>(std::min(length, (page + 1) * kPage));
      if (!std::equal(a.begin() + begin, a.begin() + end, b.begin() + begin)) {
        expected.push_back(static_cast<std::uint32_t>(page));
      }
    }
    EXPECT_EQ(differing(*ours, said(*theirs, offset, length)), expected) << "round " << round;
  }
}

}  // namespace
}  // namespace vhdxm::transfer
