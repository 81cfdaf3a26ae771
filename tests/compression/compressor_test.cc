#include "compression/compressor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/allocation_count.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/sample_data.h"

namespace vhdxm::compression {
namespace {

using test::sample_data;
using test::SampleKind;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kExtent = 1 << 20;

/// What zstd adds at most to what it cannot compress: 18 bytes of header and 3 for each 128 KiB.
std::size_t room_for(std::size_t raw_bytes) {
  return raw_bytes + 32 + raw_bytes / (128 << 10) * 3;
}

/// Packs and unpacks; returns the length in between. The buffers are no longer than they must be,
/// so that AddressSanitizer sees a byte too many.
std::size_t round_trip(Compressor& compressor, const Bytes& raw, int level) {
  Bytes packed(room_for(raw.size()));
  const auto length = compressor.compress(raw, level, packed);
  if (!length) {
    ADD_FAILURE() << "no room";
    return 0;
  }
  const Bytes exact(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(*length));
  Bytes unpacked(raw.size(), std::byte{0xa5});
  Decompressor decompressor;
  EXPECT_TRUE(test::succeeded(decompressor.decompress(exact, unpacked)));
  EXPECT_TRUE(unpacked == raw) << raw.size() << " bytes at level " << level;
  return *length;
}

TEST(Compressor, EveryLevelSizeAndKindComesBack) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  Compressor compressor(4 * kExtent, kLevelMax);
  for (const auto kind : {SampleKind::kZeros, SampleKind::kText, SampleKind::kRandom,
                          SampleKind::kDatabase, SampleKind::kRepeatedRandom}) {
    const Bytes all = sample_data(kind, kExtent, seed);
    for (const std::size_t size : {std::size_t{1}, std::size_t{2}, std::size_t{511},
                                   std::size_t{4096}, std::size_t{65537}, std::size_t{262144}}) {
      const Bytes raw(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
      for (int level = kLevelMin; level <= kLevelMax; ++level) round_trip(compressor, raw, level);
    }
    for (const int level : {kLevelMin, -1, 1, 3, 6, kLevelMax}) round_trip(compressor, all, level);
  }
}

TEST(Compressor, TheLargestExtentComesBack) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  Compressor compressor(4 * kExtent, kLevelMax);
  for (const auto kind : {SampleKind::kProgram, SampleKind::kMostlyZero, SampleKind::kRandom}) {
    const Bytes raw = sample_data(kind, 4 * kExtent, seed);
    for (const int level : {kLevelMin, 1, 4, kLevelMax}) round_trip(compressor, raw, level);
  }
}

TEST(Compressor, AHigherLevelIsSmaller) {
  const Bytes raw = sample_data(SampleKind::kText, kExtent, 5);
  Compressor compressor(kExtent, kLevelMax);
  const std::size_t fast = round_trip(compressor, raw, kLevelMin);
  const std::size_t common = round_trip(compressor, raw, 1);
  const std::size_t strong = round_trip(compressor, raw, 9);
  EXPECT_LT(common, fast);
  EXPECT_LT(strong, common);
  EXPECT_LT(strong, raw.size() / 2);
}

TEST(Compressor, TheSameExtentGivesTheSameFrameWhateverCameBefore) {
  const Bytes raw = sample_data(SampleKind::kDatabase, kExtent, 6);
  const Bytes other = sample_data(SampleKind::kText, kExtent, 6);
  Bytes first(room_for(kExtent));
  Bytes second(room_for(kExtent));
  Bytes between(room_for(kExtent));
  Compressor fresh(kExtent, 1);
  Compressor used(kExtent, kLevelMax);
  ASSERT_TRUE(used.compress(other, kLevelMax, between));
  ASSERT_TRUE(used.compress(raw, -3, between));
  first.resize(fresh.compress(raw, 1, first).value());
  second.resize(used.compress(raw, 1, second).value());
  EXPECT_TRUE(first == second);
}

TEST(Compressor, WhatDoesNotFitIsRefusedAndTheNextIsGood) {
  const Bytes raw = sample_data(SampleKind::kText, kExtent, 7);
  const Bytes noise = sample_data(SampleKind::kRandom, kExtent, 7);
  Compressor compressor(kExtent, kLevelMax);
  for (int level = kLevelMin; level <= kLevelMax; ++level) {
    const std::size_t length = round_trip(compressor, raw, level);
    Bytes room(length - 1);
    EXPECT_FALSE(compressor.compress(raw, level, room)) << level;
    EXPECT_FALSE(compressor.compress(raw, level, std::span(room).first(7))) << level;
    EXPECT_FALSE(compressor.compress(raw, level, {})) << level;
    room.resize(kExtent - kExtent / 16);
    EXPECT_FALSE(compressor.compress(noise, level, room)) << level;
  }
  round_trip(compressor, raw, 1);
}

TEST(Compressor, AllocatesNothingAfterItsConstructor) {
  const std::uint64_t at_start = test::allocation_count();
  const Bytes raw = sample_data(SampleKind::kProgram, kExtent, 8);
  ASSERT_GT(test::allocation_count(), at_start) << "allocations are not counted";
  Bytes packed(room_for(kExtent));
  Bytes unpacked(kExtent);
  Compressor compressor(kExtent, kLevelMax);
  Decompressor decompressor;
  const std::uint64_t before = test::allocation_count();
  bool good = true;
  for (const std::size_t size : {kExtent, std::size_t{4096}, std::size_t{200000}}) {
    for (int level = kLevelMax; level >= kLevelMin; --level) {
      const auto length = compressor.compress(std::span(raw).first(size), level, packed);
      good = good && length.has_value() &&
             !decompressor
                  .decompress(std::span(packed).first(*length), std::span(unpacked).first(size))
                  .has_error();
    }
  }
  EXPECT_EQ(test::allocation_count(), before);
  EXPECT_TRUE(good);
}

TEST(Compressor, MemoryIsAsDocumented) {
  constexpr std::size_t kKiB = 1024;
  for (const std::size_t extent : {256 * kKiB, kExtent, 4 * kExtent}) {
    SCOPED_TRACE(extent);
    EXPECT_EQ(Compressor::memory_bytes(extent, kLevelMin) / kKiB, 536U);
    EXPECT_EQ(Compressor::memory_bytes(extent, -1) / kKiB, 536U);
    EXPECT_EQ(Compressor::memory_bytes(extent, 0) / kKiB, 1272U);
    EXPECT_EQ(Compressor::memory_bytes(extent, 3) / kKiB, 1272U);
    EXPECT_EQ(Compressor::memory_bytes(extent, 4) / kKiB, 2552U);
    EXPECT_EQ(Compressor::memory_bytes(extent, kLevelMax) / kKiB, 3576U);
  }
  EXPECT_LE(Decompressor::memory_bytes(), 94 * kKiB);
}

// One context for every order of levels and sizes: none asks for more memory than there is.
TEST(Compressor, LevelsAndSizesInAnyOrder) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (const int level_max : {kLevelMin, -1, 0, 1, 4, kLevelMax}) {
    Compressor compressor(300000, level_max);
    const Bytes all = sample_data(SampleKind::kProgram, 300000, seed);
    for (int i = 0; i < 60; ++i) {
      const std::size_t size = std::min<std::size_t>(1 + (random() >> (random() % 64)), 300000);
      const Bytes raw(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
      const auto levels = std::uint64_t{1} + static_cast<std::uint64_t>(level_max - kLevelMin);
      round_trip(compressor, raw, kLevelMin + static_cast<int>(random() % levels));
    }
  }
}

}  // namespace
}  // namespace vhdxm::compression
