#include "transfer/sample_disk.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/expect_error.h"
#include "tests/support/sample_data.h"

namespace vhdxm::transfer {
namespace {

using vhdx::Extent;
using vhdx::ExtentKind;
using vhdx::kMiB;

/// Data of `runs` in memory, anything else unmapped.
class SparseDisk final : public vhdx::DiskView {
 public:
  SparseDisk(std::uint64_t size, std::vector<std::pair<std::uint64_t, std::uint64_t>> runs)
      : runs_(std::move(runs)) {
    description_.geometry = {.virtual_size_bytes = size, .block_bytes = 1 << 20};
  }
  MemoryFile& file() { return file_; }
  const vhdx::Description& description() const override { return description_; }
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length, std::vector<Extent>& out,
                            std::size_t) override {
    for (const auto& [begin, end] : runs_) {
      if (offset >= end) continue;
      const bool data = offset >= begin;
      const std::uint64_t stop = std::min(offset + length, data ? end : begin);
      out.push_back({.virtual_offset = offset,
                     .length = stop - offset,
                     .kind = data ? ExtentKind::kData : ExtentKind::kUnmapped,
                     .file = data ? &file_ : nullptr,
                     .file_offset = offset});
      return stop;
    }
    out.push_back({.virtual_offset = offset, .length = length});
    return offset + length;
  }
  Result<void> payload_states(std::uint64_t, std::span<vhdx::PayloadState>) override { return {}; }

 private:
  vhdx::Description description_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> runs_;
  MemoryFile file_;
};

TEST(SampleDisk, ReadsALittleFromEverywhere) {
  SparseDisk disk(vhdx::kTiB,
                  {{64 * kMiB, 96 * kMiB}, {vhdx::kGiB * 500, vhdx::kGiB * 500 + 32 * kMiB}});
  const auto text = test::sample_data(test::SampleKind::kText, 32 * kMiB, 1);
  ASSERT_FALSE(disk.file().write_at(64 * kMiB, text).has_error());
  ASSERT_FALSE(
      disk.file().write_at(500 * vhdx::kGiB, std::span(text).first(16 * kMiB)).has_error());
  ASSERT_FALSE(disk.file().resize(501 * vhdx::kGiB).has_error());
  const auto sample = sample_disk(disk, 64 * kMiB, 4 * kMiB);
  ASSERT_TRUE(test::succeeded(sample));
  EXPECT_EQ(sample->read_bytes, 4 * kMiB);
  // A quarter of the payload is zeros, and so is a quarter of the sample.
  EXPECT_EQ(sample->zero_bytes, kMiB);
  EXPECT_EQ(sample->bytes.size(), 3 * kMiB);
  EXPECT_GT(sample->read_bytes_per_second, 0);
}

TEST(SampleDisk, IsAtLeastOnePieceAndNeverMoreThanThereIs) {
  SparseDisk disk(kMiB * 8, {{kMiB, kMiB + 4096}});
  const std::vector<std::byte> ones(4096, std::byte{1});
  ASSERT_FALSE(disk.file().write_at(kMiB, ones).has_error());
  const auto sample = sample_disk(disk, 4096, 0);
  ASSERT_TRUE(test::succeeded(sample));
  EXPECT_EQ(sample->bytes, ones);
  SparseDisk empty(kMiB * 8, {});
  const auto nothing = sample_disk(empty, 0, kMiB);
  ASSERT_TRUE(test::succeeded(nothing));
  EXPECT_EQ(nothing->read_bytes, 0U);
}

TEST(EndlessDisk, IsTheSampleOverAndOver) {
  const auto bytes = test::sample_data(test::SampleKind::kDatabase, 2 * kMiB + 77, 3);
  EndlessDisk disk(bytes);
  EXPECT_FALSE(disk.geometry().validate().has_error());
  for (const std::uint64_t offset : {std::uint64_t{0}, 5 * kMiB, 63 * vhdx::kTiB + kMiB / 2}) {
    std::vector<Extent> extents;
    const auto end = disk.map(offset, 3 * kMiB, extents, 100);
    ASSERT_TRUE(test::succeeded(end));
    EXPECT_EQ(*end, offset + 3 * kMiB);
    std::uint64_t at = offset;
    for (const Extent& extent : extents) {
      EXPECT_EQ(extent.virtual_offset, at);
      std::vector<std::byte> read(extent.length);
      ASSERT_FALSE(read_exact_at(*extent.file, extent.file_offset, read, "sample").has_error());
      EXPECT_TRUE(std::equal(read.begin(), read.end(),
                             bytes.begin() + static_cast<std::ptrdiff_t>(at % (2 * kMiB))));
      at += extent.length;
    }
  }
}

TEST(EndlessDisk, ASmallSampleFillsAnExtent) {
  const auto bytes = test::sample_data(test::SampleKind::kText, 1000, 3);
  EndlessDisk disk(bytes);
  std::vector<Extent> extents;
  ASSERT_TRUE(test::succeeded(disk.map(0, kMiB, extents, 1)));
  ASSERT_EQ(extents.size(), 1U);
  EXPECT_EQ(extents[0].length, kMiB);
  std::vector<std::byte> read(kMiB);
  ASSERT_FALSE(read_exact_at(*extents[0].file, 0, read, "sample").has_error());
  for (std::size_t at = 0; at < read.size(); ++at) ASSERT_EQ(read[at], bytes[at % 1000]) << at;
}

}  // namespace
}  // namespace vhdxm::transfer
