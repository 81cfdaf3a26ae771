// Comparing contents against comparing their bytes.
#include "vhdx/content_compare.h"

#include <gtest/gtest.h>

#include <random>

#include "base/memory_file.h"
#include "tests/support/content_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"

namespace vhdxm::vhdx {
namespace {

using test::ContentModel;
using test::failed_with;
using test::succeeded;

std::vector<std::byte> random_bytes(std::size_t length, std::mt19937_64& random) {
  std::vector<std::byte> bytes(length);
  // Some ranges of data between zeros.
  for (std::uint64_t i = 0; i < random() % 6; ++i) {
    const std::size_t begin = random() % length;
    const std::size_t end = std::min(length, begin + 1 + random() % (length / 4 + 1));
    for (std::size_t at = begin; at < end; ++at) bytes[at] = static_cast<std::byte>(random() % 200);
  }
  return bytes;
}

/// True runs of `bytes`, cut at random places; not every run of zeros is known as such.
ContentModel model_of(const std::vector<std::byte>& bytes, std::mt19937_64& random) {
  std::vector<ContentRun> runs;
  for (std::size_t at = 0; at < bytes.size();) {
    const bool zero = bytes[at] == std::byte{0};
    std::size_t end = at;
    while (end < bytes.size() && (bytes[end] == std::byte{0}) == zero) ++end;
    if (random() % 3 == 0 && end > at + 1) end = at + 1 + random() % (end - at - 1);
    runs.push_back({.offset = at, .length = end - at, .is_zero = zero && random() % 4 != 0});
    at = end;
  }
  return {bytes, runs, 1 + random() % 5};
}

TEST(CompareContent, FindsWhatComparingBytesFinds) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 300; ++round) {
    const auto first = random_bytes(1 + random() % 20000, random);
    auto second = first;
    if (random() % 2 == 0) second.resize(1 + random() % 20000);
    if (random() % 2 == 0) second[random() % second.size()] ^= std::byte{1};
    ContentModel a = model_of(first, random);
    ContentModel b = model_of(second, random);
    const auto result = compare_content(a, b);
    ASSERT_TRUE(succeeded(result));
    const std::size_t common = std::min(first.size(), second.size());
    const auto differs =
        std::mismatch(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(common),
                      second.begin())
            .first;
    const auto offset = static_cast<std::uint64_t>(differs - first.begin());
    if (offset == common) {
      ASSERT_EQ(result->first_difference, std::nullopt);
    } else {
      ASSERT_EQ(result->first_difference, offset);
    }
    ASSERT_EQ(result->same(), first == second);
    ASSERT_EQ(result->first_size_bytes, first.size());
    ASSERT_EQ(result->second_size_bytes, second.size());
  }
}

TEST(CompareContent, LongerOfTwoThatBeginAlikeIsNotTheSame) {
  ContentModel a(std::vector<std::byte>(1000), {{.offset = 0, .length = 1000, .is_zero = true}});
  ContentModel b(std::vector<std::byte>(1001), {{.offset = 0, .length = 1001, .is_zero = true}});
  const auto result = compare_content(a, b);
  ASSERT_TRUE(succeeded(result));
  EXPECT_FALSE(result->same());
  EXPECT_EQ(result->first_difference, std::nullopt);
}

TEST(CompareContent, EmptyContentsAreTheSame) {
  ContentModel a({}, {});
  ContentModel b({}, {});
  const auto result = compare_content(a, b);
  ASSERT_TRUE(succeeded(result));
  EXPECT_TRUE(result->same());
}

TEST(CompareContent, ReadsNothingThatBothKnowToBeZero) {
  std::vector<std::byte> bytes(5 * kMiB);
  bytes[3 * kMiB] = std::byte{1};
  const std::vector<ContentRun> runs = {{.offset = 0, .length = 3 * kMiB, .is_zero = true},
                                        {.offset = 3 * kMiB, .length = kMiB, .is_zero = false},
                                        {.offset = 4 * kMiB, .length = kMiB, .is_zero = true}};
  ContentModel a(bytes, runs);
  ContentModel b(bytes, runs);
  ASSERT_TRUE(succeeded(compare_content(a, b)));
  EXPECT_EQ(a.bytes_read(), kMiB);
  EXPECT_EQ(b.bytes_read(), kMiB);
}

TEST(CompareContent, LargestSparseContentsTakeNoTime) {
  const auto sparse = [] {
    const auto file = std::make_shared<MemoryFile>();
    EXPECT_TRUE(succeeded(file->resize(kVirtualSizeMax)));
    return *content_of_raw(file);
  };
  const auto result = compare_content(*sparse(), *sparse());
  ASSERT_TRUE(succeeded(result));
  EXPECT_TRUE(result->same());
}

TEST(CompareContent, ReportsProgressAndStopsWhenTold) {
  std::vector<std::byte> bytes(8 * kMiB, std::byte{1});
  ContentModel a(bytes, {{.offset = 0, .length = bytes.size(), .is_zero = false}});
  ContentModel b(bytes, {{.offset = 0, .length = bytes.size(), .is_zero = false}});
  std::uint64_t last = 0;
  std::atomic<bool> cancel = false;
  WorkWatch watch;
  watch.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(total, bytes.size());
    EXPECT_GE(done, last);
    last = done;
  };
  ASSERT_TRUE(succeeded(compare_content(a, b, watch)));
  EXPECT_EQ(last, bytes.size());
  watch.cancel = &cancel;
  watch.progress = [&](std::uint64_t done, std::uint64_t) { cancel = done >= 3 * kMiB; };
  EXPECT_TRUE(failed_with(compare_content(a, b, watch), BaseErrc::kCancelled));
}

}  // namespace
}  // namespace vhdxm::vhdx
