#include "vhdx/overlay_file.h"

#include <gtest/gtest.h>

#include <random>

#include "base/memory_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using test::failed_with;
using test::succeeded;
using Bytes = std::vector<std::byte>;

OverlayFile::Sector sector_of(std::uint8_t value) {
  OverlayFile::Sector sector;
  sector.fill(static_cast<std::byte>(value));
  return sector;
}

std::unique_ptr<OverlayFile> over(const std::shared_ptr<File>& base) {
  auto overlay = OverlayFile::over(base);
  EXPECT_TRUE(succeeded(overlay));
  return std::move(*overlay);
}

Bytes read(File& file, std::uint64_t offset, std::size_t length) {
  Bytes bytes(length, std::byte{0x55});
  const auto got = file.read_some_at(offset, bytes);
  EXPECT_TRUE(succeeded(got));
  bytes.resize(*got);
  return bytes;
}

TEST(OverlayFile, ShowsItsBaseUntilSomethingIsLaidOver) {
  const auto base = std::make_shared<MemoryFile>("disk", Bytes(10000, std::byte{1}));
  const auto overlay = over(base);
  EXPECT_EQ(overlay->name(), "disk");
  EXPECT_EQ(*overlay->size(), 10000U);
  EXPECT_EQ(read(*overlay, 9990, 100), Bytes(10, std::byte{1}));
  EXPECT_TRUE(read(*overlay, 10000, 1).empty());
}

TEST(OverlayFile, TheLaterOfZeroAndReplaceCounts) {
  const auto base = std::make_shared<MemoryFile>("disk", Bytes(16384, std::byte{1}));
  const auto overlay = over(base);
  overlay->replace(0, sector_of(2));
  overlay->zero(0, 8192);
  overlay->replace(4096, sector_of(3));
  EXPECT_EQ(read(*overlay, 4095, 2), (Bytes{std::byte{0}, std::byte{3}}));
  EXPECT_EQ(read(*overlay, 8191, 2), (Bytes{std::byte{3}, std::byte{1}}));
}

TEST(OverlayFile, AnEmptyReadTouchesNoMemory) {
  const auto overlay = over(std::make_shared<MemoryFile>("disk", Bytes(8192, std::byte{1})));
  overlay->replace(4096, sector_of(2));
  EXPECT_EQ(*overlay->read_some_at(4100, {}), 0U);
}

TEST(OverlayFile, HugeZeroRangesCostNothing) {
  const auto base = std::make_shared<MemoryFile>("disk", Bytes(8192, std::byte{1}));
  const auto overlay = over(base);
  overlay->zero(4096, std::uint64_t{1} << 46);
  EXPECT_EQ(*overlay->size(), 4096 + (std::uint64_t{1} << 46));
  EXPECT_EQ(read(*overlay, std::uint64_t{1} << 45, 10), Bytes(10));
  EXPECT_EQ(read(*overlay, 4095, 2), (Bytes{std::byte{1}, std::byte{0}}));
}

TEST(OverlayFile, GrowthReadsAsZero) {
  const auto base = std::make_shared<MemoryFile>("disk", Bytes(5, std::byte{1}));
  const auto overlay = over(base);
  overlay->grow(3);
  EXPECT_EQ(*overlay->size(), 5U);
  overlay->grow(10);
  EXPECT_EQ(read(*overlay, 4, 100), (Bytes{std::byte{1}, std::byte{0}, std::byte{0}, std::byte{0},
                                           std::byte{0}, std::byte{0}}));
}

TEST(OverlayFile, IsReadOnly) {
  const auto overlay = over(std::make_shared<MemoryFile>());
  EXPECT_TRUE(failed_with(overlay->write_at(0, Bytes(1)), Errc::kReadOnly));
  EXPECT_TRUE(failed_with(overlay->resize(1), Errc::kReadOnly));
  EXPECT_TRUE(failed_with(overlay->allocate(0, 1), Errc::kReadOnly));
  EXPECT_TRUE(failed_with(overlay->punch_hole(0, 1), Errc::kReadOnly));
  EXPECT_TRUE(failed_with(overlay->sync(), Errc::kReadOnly));
}

TEST(OverlayFile, NextDataMissesNothing) {
  const auto base = std::make_shared<MemoryFile>();
  ASSERT_TRUE(succeeded(base->resize(1 << 20)));
  ASSERT_TRUE(succeeded(base->write_at(8192, Bytes(4096, std::byte{1}))));
  const auto overlay = over(base);
  overlay->replace(0, sector_of(1));
  overlay->replace(2 << 20, sector_of(1));
  EXPECT_EQ(overlay->next_data(0)->begin, 0U);
  EXPECT_EQ(overlay->next_data(100)->begin, 100U);
  EXPECT_EQ(overlay->next_data(4096)->begin, 8192U);
  EXPECT_EQ(overlay->next_data(12288)->begin, 2U << 20);
  EXPECT_EQ(overlay->next_data((2 << 20) + 4096)->begin, *overlay->size());
}

TEST(OverlayFile, IsWhatAFileBecomesAndApplyMakesItSo) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  constexpr std::size_t kSectors = 40;
  for (int round = 0; round < 50; ++round) {
    const std::size_t base_bytes = random() % (kSectors * 4096);
    Bytes model(base_bytes);
    for (std::byte& byte : model) byte = static_cast<std::byte>(random());
    const auto base = std::make_shared<MemoryFile>("disk", model);
    const auto overlay = over(base);
    for (int step = 0; step < 30; ++step) {
      const std::size_t at = random() % kSectors;
      const std::size_t count = random() % 2 == 0 ? 1 : random() % (kSectors - at) + 1;
      const std::size_t end = (at + count) * 4096;
      if (model.size() < end) model.resize(end);
      const auto value = static_cast<std::uint8_t>(random() % 2 == 0 ? 0 : 1 + random() % 255);
      if (value == 0) {
        overlay->zero(at * 4096, count * 4096);
      } else {
        for (std::size_t i = 0; i < count; ++i) overlay->replace((at + i) * 4096, sector_of(value));
      }
      std::fill(model.begin() + static_cast<std::ptrdiff_t>(at * 4096),
                model.begin() + static_cast<std::ptrdiff_t>(end), static_cast<std::byte>(value));
    }
    ASSERT_EQ(read(*overlay, 0, model.size() + 1), model);
    const std::size_t from = random() % model.size();
    const std::size_t length = std::min(model.size() - from, std::size_t{random() % 10000});
    const auto begin = model.begin() + static_cast<std::ptrdiff_t>(from);
    ASSERT_EQ(read(*overlay, from, length),
              Bytes(begin, begin + static_cast<std::ptrdiff_t>(length)));
    ASSERT_TRUE(succeeded(overlay->apply_to(*base)));
    ASSERT_EQ(read(*base, 0, model.size() + 1), model);
  }
}

}  // namespace
}  // namespace vhdxm::vhdx
