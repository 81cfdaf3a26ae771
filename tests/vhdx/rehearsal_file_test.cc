// A rehearsal shows what the real file would be, and carries out just that.
#include "vhdx/rehearsal_file.h"

#include <gtest/gtest.h>

#include <random>

#include "base/memory_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/repair_oracle.h"

namespace vhdxm::vhdx {
namespace {

using test::copy_of;
using test::random_seed;
using test::repeat_with;
using test::same_bytes;
using test::succeeded;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kSize = 50000;

std::shared_ptr<MemoryFile> base_file() {
  auto file = std::make_shared<MemoryFile>("base");
  EXPECT_TRUE(succeeded(file->write_at(0, Bytes(kSize, std::byte{7}))));
  return file;
}

TEST(RehearsalFile, ShowsAndCarriesOutWhatAnyChangesLeadTo) {
  const std::uint64_t seed = random_seed();
  SCOPED_TRACE(repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < test::rounds(200); ++round) {
    const auto base = base_file();
    const auto untouched = copy_of(*base);
    const auto model = copy_of(*base);
    auto rehearsal = RehearsalFile::over(base).value();
    for (std::uint64_t i = random() % 12; i != 0; --i) {
      const std::uint64_t offset = random() % kSize;
      const std::uint64_t length = random() % 20000;
      for (File* file : {static_cast<File*>(rehearsal.get()), static_cast<File*>(model.get())}) {
        switch (i % 4) {
          case 0:
            ASSERT_TRUE(succeeded(file->resize(offset + length)));
            break;
          case 1:
            ASSERT_TRUE(succeeded(file->punch_hole(offset, length)));
            break;
          default:
            ASSERT_TRUE(succeeded(file->write_at(offset, Bytes(length, std::byte(i)))));
        }
      }
    }
    ASSERT_TRUE(same_bytes(*rehearsal, *model)) << round;
    ASSERT_TRUE(same_bytes(*base, *untouched)) << round;
    const auto target = copy_of(*base);
    ASSERT_TRUE(succeeded(rehearsal->perform_on(*target)));
    ASSERT_TRUE(same_bytes(*target, *model)) << round;
    // Outside what it says it changes, nothing differs.
    std::uint64_t at = 0;
    for (const FileRange& range : rehearsal->changed()) {
      for (; at < range.begin; ++at) {
        Bytes byte(1);
        ASSERT_TRUE(succeeded(model->read_some_at(at, byte)));
        ASSERT_EQ(byte[0], std::byte{7}) << at;
      }
      at = range.end;
    }
  }
}

TEST(RehearsalFile, SaysWhatIsOverwrittenAndWhatIsCleared) {
  auto rehearsal = RehearsalFile::over(base_file()).value();
  ASSERT_TRUE(succeeded(rehearsal->write_at(100, Bytes(10))));
  ASSERT_TRUE(succeeded(rehearsal->write_at(105, Bytes(10))));
  ASSERT_TRUE(succeeded(rehearsal->write_at(kSize - 5, Bytes(10))));
  ASSERT_TRUE(succeeded(rehearsal->punch_hole(5000, 10)));
  ASSERT_TRUE(succeeded(rehearsal->resize(kSize - 100)));
  EXPECT_EQ(rehearsal->overwritten(), (std::vector<FileRange>{{100, 115}, {kSize - 5, kSize}}));
  EXPECT_EQ(rehearsal->cleared(), (std::vector<FileRange>{{5000, 5010}, {kSize - 100, kSize}}));
}

}  // namespace
}  // namespace vhdxm::vhdx
