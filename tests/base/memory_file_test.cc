#include "base/memory_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "tests/support/random_seed.h"

namespace vhdxm {
namespace {

constexpr std::uint64_t kTiB = std::uint64_t{1} << 40;

std::vector<std::byte> content_of(File& file) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(file.size().value()));
  EXPECT_EQ(file.read_some_at(0, bytes).value(), bytes.size());
  return bytes;
}

TEST(MemoryFile, StartsWithItsContent) {
  const std::vector<std::byte> bytes(5000, std::byte{9});
  MemoryFile file("a name", bytes);
  EXPECT_EQ(content_of(file), bytes);
  EXPECT_EQ(file.name(), "a name");
}

TEST(MemoryFile, ReadsOnlyWhatIsThere) {
  const std::vector<std::byte> content(100, std::byte{9});
  MemoryFile file("m", content);
  std::vector<std::byte> bytes(200);
  EXPECT_EQ(file.read_some_at(60, bytes).value(), 40U);
  EXPECT_EQ(file.read_some_at(100, bytes).value(), 0U);
  EXPECT_EQ(file.read_some_at(~std::uint64_t{0}, bytes).value(), 0U);
}

TEST(MemoryFile, HoldsAVeryLargeSparseFile) {
  MemoryFile file;
  const std::vector<std::byte> bytes(3, std::byte{1});
  ASSERT_FALSE(file.write_at(64 * kTiB - 3, bytes).has_error());
  EXPECT_EQ(file.size().value(), 64 * kTiB);
  const auto run = file.next_data(0).value();
  EXPECT_EQ(run.begin, 64 * kTiB - 4096);
  EXPECT_EQ(run.end, 64 * kTiB);
}

TEST(MemoryFile, RefusesOffsetsThatNoFileHas) {
  MemoryFile file;
  const std::vector<std::byte> bytes(2);
  const std::uint64_t end = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(file.write_at(end - 1, bytes).error().code, boost::system::errc::file_too_large);
  EXPECT_EQ(file.resize(end + 1).error().code, boost::system::errc::file_too_large);
  EXPECT_EQ(file.allocate(1, ~std::uint64_t{0}).error().code, boost::system::errc::file_too_large);
  EXPECT_EQ(file.size().value(), 0U);
}

TEST(MemoryFile, WhatWasCutOffIsZeroWhenTheFileGrowsAgain) {
  const std::vector<std::byte> content(6000, std::byte{9});
  MemoryFile file("m", content);
  ASSERT_FALSE(file.resize(5).has_error());
  ASSERT_FALSE(file.resize(6000).has_error());
  const auto bytes = content_of(file);
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{9}), 5);
}

TEST(MemoryFile, AllocateKeepsContentAndGrows) {
  const std::vector<std::byte> content(10, std::byte{9});
  MemoryFile file("m", content);
  ASSERT_FALSE(file.allocate(5, 100).has_error());
  const auto bytes = content_of(file);
  EXPECT_EQ(bytes.size(), 105U);
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{9}), 10);
}

TEST(MemoryFile, WritingNothingDoesNotGrow) {
  MemoryFile file;
  ASSERT_FALSE(file.write_at(1000, {}).has_error());
  EXPECT_EQ(file.size().value(), 0U);
}

// Against a vector that does the same in the plainest way.
TEST(MemoryFile, BehavesAsAVectorOfBytes) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  constexpr std::uint64_t kMax = 40'000;
  MemoryFile file;
  std::vector<std::byte> model;
  for (int step = 0; step < 3000; ++step) {
    const std::uint64_t offset = random() % kMax;
    const std::uint64_t length = random() % 10'000;
    switch (random() % 8) {
      case 0: {
        ASSERT_FALSE(file.resize(offset).has_error());
        model.resize(offset);
        break;
      }
      case 1: {
        ASSERT_FALSE(file.allocate(offset, length).has_error());
        if (length > 0) model.resize(std::max<std::size_t>(model.size(), offset + length));
        break;
      }
      case 2: {
        ASSERT_FALSE(file.punch_hole(offset, length).has_error());
        for (auto i = offset; i < std::min<std::uint64_t>(model.size(), offset + length); ++i) {
          model[i] = std::byte{0};
        }
        break;
      }
      default: {
        std::vector<std::byte> bytes(length);
        for (auto& byte : bytes) byte = static_cast<std::byte>(random() | 1);
        ASSERT_FALSE(file.write_at(offset, bytes).has_error());
        if (length > 0) model.resize(std::max<std::size_t>(model.size(), offset + length));
        std::copy(bytes.begin(), bytes.end(),
                  model.begin() + static_cast<std::ptrdiff_t>(length > 0 ? offset : 0));
      }
    }
    ASSERT_EQ(file.size().value(), model.size()) << "step " << step;
    std::vector<std::byte> got(random() % 10'000, std::byte{0xee});
    const std::uint64_t from = random() % kMax;
    const std::size_t there =
        from >= model.size() ? 0 : std::min<std::size_t>(got.size(), model.size() - from);
    ASSERT_EQ(file.read_some_at(from, got).value(), there) << "step " << step;
    ASSERT_TRUE(std::equal(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(there),
                           model.begin() + static_cast<std::ptrdiff_t>(there > 0 ? from : 0)))
        << "step " << step;
    // What next_data() skips is zero, and it never stands still.
    std::uint64_t at = 0;
    while (at < model.size()) {
      const auto run = file.next_data(at).value();
      ASSERT_TRUE(run.begin >= at && run.begin <= run.end && run.end <= model.size());
      ASSERT_TRUE(std::all_of(model.begin() + static_cast<std::ptrdiff_t>(at),
                              model.begin() + static_cast<std::ptrdiff_t>(run.begin),
                              [](std::byte b) { return b == std::byte{0}; }))
          << "step " << step << " at " << at;
      if (run.begin == run.end) break;
      at = run.end;
    }
  }
}

TEST(ReadExactAt, NamesFileFieldAndPlaceOfAShortRead) {
  const std::vector<std::byte> content(10);
  MemoryFile file("short.vhdx", content);
  std::vector<std::byte> bytes(8);
  EXPECT_FALSE(read_exact_at(file, 2, bytes, "header").has_error());
  const auto result = read_exact_at(file, 4, bytes, "header");
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(describe(result.error()),
            "short.vhdx: the file ends too early: header at byte 4 (found 6, expected 8)");
}

}  // namespace
}  // namespace vhdxm
