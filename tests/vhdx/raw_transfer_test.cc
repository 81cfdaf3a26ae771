// Raw content into disks and out of them.
#include "vhdx/raw_transfer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <thread>

#include "base/memory_file.h"
#include "tests/support/content_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/model_disk.h"
#include "tests/support/random_seed.h"
#include "vhdx/content_compare.h"

namespace vhdxm::vhdx {
namespace {

using test::ContentModel;
using test::failed_with;
using test::ModelDisk;
using test::succeeded;

std::shared_ptr<MemoryFile> random_raw(std::uint64_t size, std::mt19937_64& random) {
  auto file = std::make_shared<MemoryFile>("raw");
  EXPECT_TRUE(succeeded(file->resize(size)));
  for (std::uint64_t i = 0; size != 0 && i < 1 + random() % 12; ++i) {
    const std::uint64_t begin = random() % size;
    const std::uint64_t length =
        std::min<std::uint64_t>(size - begin, 1 + random() % (1 << (random() % 20)));
    // Written zeros are data as far as the file knows.
    std::vector<std::byte> bytes(length);
    if (random() % 3 != 0) {
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    }
    EXPECT_TRUE(succeeded(file->write_at(begin, bytes)));
  }
  return file;
}

std::unique_ptr<ContentSource> raw_content(const std::shared_ptr<File>& file) {
  auto content = content_of_raw(file);
  EXPECT_TRUE(succeeded(content));
  return std::move(*content);
}

std::unique_ptr<ContentSource> vhdx_content(const std::shared_ptr<File>& file) {
  auto layer = Layer::open(file, Layer::Replay::kInMemory);
  EXPECT_TRUE(succeeded(layer));
  EXPECT_TRUE(succeeded((*layer)->validate_bat()));
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::move(*layer));
  auto image = Image::from_layers(std::move(layers));
  EXPECT_TRUE(succeeded(image));
  return content_of(std::move(*image));
}

Description description_of(DiskType type, std::uint32_t block_mib, std::uint32_t sector) {
  Description description;
  description.geometry = {.virtual_size_bytes = 0,
                          .block_bytes = static_cast<std::uint32_t>(block_mib * kMiB),
                          .logical_sector_bytes = sector,
                          .physical_sector_bytes = 4096,
                          .type = type};
  return description;
}

TEST(ImportContent, DiskHoldsWhatTheRawFileDid) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 60; ++round) {
    const std::uint32_t sector = random() % 2 == 0 ? 512 : 4096;
    const std::uint64_t size = random() % 3 == 0   ? (1 + random() % 5) * kMiB
                               : random() % 2 == 0 ? 1 + random() % (9 * kMiB)
                                                   : (1 + random() % 5) * kMiB + sector;
    const auto type = random() % 3 == 0 ? DiskType::kFixed : DiskType::kDynamic;
    const std::uint32_t block_mib = 1U << random() % 3;
    const auto raw = random_raw(size, random);
    const auto disk = std::make_shared<MemoryFile>("disk");
    const auto source = raw_content(raw);
    const auto summary = import_content(*source, disk, description_of(type, block_mib, sector), {});
    ASSERT_TRUE(succeeded(summary));
    const auto content = vhdx_content(disk);
    ASSERT_EQ(content->size_bytes(), (size + sector - 1) / sector * sector);
    const auto same = compare_content(*raw_content(raw), *content);
    ASSERT_TRUE(succeeded(same));
    ASSERT_EQ(same->first_difference, std::nullopt);
    // What rounding added is zero.
    std::vector<std::byte> tail(content->size_bytes() - size);
    ASSERT_TRUE(succeeded(content->read(size, tail)));
    ASSERT_TRUE(
        std::all_of(tail.begin(), tail.end(), [](std::byte b) { return b == std::byte{0}; }));
    // No block has room that holds only zeros.
    std::uint64_t nonzero = 0;
    const std::uint64_t block = block_mib * kMiB;
    for (std::uint64_t at = 0; at < size; at += block) {
      std::vector<std::byte> bytes(std::min(block, size - at));
      ASSERT_TRUE(succeeded(source->read(at, bytes)));
      nonzero +=
          std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; });
    }
    ASSERT_EQ(summary->blocks, (size + block - 1) / block);
    ASSERT_EQ(summary->present_blocks, type == DiskType::kFixed ? summary->blocks : nonzero);
  }
}

TEST(ImportContent, HolesAndSectorsNeedNotAgree) {
  // Runs that begin and end inside sectors, as a file system with small blocks may report.
  std::vector<std::byte> bytes(3 * kMiB);
  std::fill_n(bytes.begin() + 5000, 100, std::byte{1});
  std::fill_n(bytes.begin() + 9000, 3000, std::byte{2});
  std::fill_n(bytes.begin() + 2 * kMiB + 100, 70000, std::byte{3});
  const std::vector<ContentRun> runs = {
      {.offset = 0, .length = 5000, .is_zero = true},
      {.offset = 5000, .length = 100, .is_zero = false},
      {.offset = 5100, .length = 3900, .is_zero = true},
      {.offset = 9000, .length = 3000, .is_zero = false},
      {.offset = 12000, .length = 2 * kMiB - 11900, .is_zero = true},
      {.offset = 2 * kMiB + 100, .length = 70000, .is_zero = false},
      {.offset = 2 * kMiB + 70100, .length = kMiB - 70100, .is_zero = true}};
  for (const std::uint32_t sector : {512U, 4096U}) {
    for (const std::size_t at_once : {std::size_t{1}, std::size_t{9}}) {
      ContentModel source(bytes, runs, at_once);
      const auto disk = std::make_shared<MemoryFile>();
      const auto summary =
          import_content(source, disk, description_of(DiskType::kDynamic, 1, sector), {});
      ASSERT_TRUE(succeeded(summary));
      EXPECT_EQ(summary->present_blocks, 2U);
      const auto same = compare_content(source, *vhdx_content(disk));
      ASSERT_TRUE(succeeded(same));
      EXPECT_TRUE(same->same()) << *same->first_difference;
    }
  }
}

TEST(ImportContent, EmptyDiskOf64TiBTakesNoTime) {
  const auto raw = std::make_shared<MemoryFile>();
  ASSERT_TRUE(succeeded(raw->resize(kVirtualSizeMax)));
  const std::vector<std::byte> last(1, std::byte{1});
  ASSERT_TRUE(succeeded(raw->write_at(kVirtualSizeMax - 1, last)));
  const auto disk = std::make_shared<MemoryFile>();
  const auto summary =
      import_content(*raw_content(raw), disk, description_of(DiskType::kDynamic, 32, 512), {});
  ASSERT_TRUE(succeeded(summary));
  EXPECT_EQ(summary->present_blocks, 1U);
  EXPECT_EQ(summary->written_bytes, 4096U);
}

TEST(ImportContent, LargerVirtualSizeAddsZeros) {
  std::mt19937_64 random(5);
  const auto raw = random_raw(kMiB, random);
  Description description = description_of(DiskType::kDynamic, 1, 512);
  description.geometry.virtual_size_bytes = 10 * kMiB;
  const auto disk = std::make_shared<MemoryFile>();
  ASSERT_TRUE(succeeded(import_content(*raw_content(raw), disk, description, {})));
  EXPECT_EQ(vhdx_content(disk)->size_bytes(), 10 * kMiB);
}

TEST(ImportContent, Refuses) {
  std::mt19937_64 random(5);
  const auto source = raw_content(random_raw(2 * kMiB, random));
  const auto disk = std::make_shared<MemoryFile>();
  Description description = description_of(DiskType::kDynamic, 1, 512);
  description.geometry.virtual_size_bytes = kMiB;
  EXPECT_TRUE(failed_with(import_content(*source, disk, description, {}),
                          BaseErrc::kInvalidArgument, "smaller than the content"));
  EXPECT_TRUE(failed_with(
      import_content(*source, disk, description_of(DiskType::kDifferencing, 1, 512), {}),
      BaseErrc::kInvalidArgument, "differencing"));
  EXPECT_TRUE(
      import_content(*source, disk, description_of(DiskType::kDynamic, 3, 512), {}).has_error());
  EXPECT_TRUE(
      import_content(*source, disk, description_of(DiskType::kDynamic, 1, 0), {}).has_error());
  EXPECT_EQ(*disk->size(), 0U);
}

TEST(ImportContent, ReportsProgressAndStopsWhenTold) {
  std::mt19937_64 random(7);
  const auto source = raw_content(random_raw(20 * kMiB, random));
  std::uint64_t last = 0;
  std::uint64_t calls = 0;
  WorkWatch watch;
  watch.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(total, 20 * kMiB);
    EXPECT_GE(done, last);
    last = done;
    ++calls;
  };
  ASSERT_TRUE(succeeded(import_content(*source, std::make_shared<MemoryFile>(),
                                       description_of(DiskType::kDynamic, 1, 512), {}, watch)));
  EXPECT_EQ(last, 20 * kMiB);
  EXPECT_GT(calls, 5U);
  const std::atomic<bool> cancel = true;
  const WorkWatch cancelled{.progress = {}, .cancel = &cancel};
  EXPECT_TRUE(failed_with(import_content(*source, std::make_shared<MemoryFile>(),
                                         description_of(DiskType::kDynamic, 1, 512), {}, cancelled),
                          BaseErrc::kCancelled));
}

/// A disk and its content as bytes.
struct Disk {
  std::shared_ptr<MemoryFile> file = std::make_shared<MemoryFile>();
  std::vector<std::byte> bytes;
};

Disk random_disk(std::mt19937_64& random) {
  const Geometry geometry{.virtual_size_bytes = 7 * kMiB + 4096,
                          .block_bytes = static_cast<std::uint32_t>(kMiB),
                          .logical_sector_bytes = 4096,
                          .physical_sector_bytes = 4096,
                          .type = DiskType::kDynamic};
  const ModelDisk model = ModelDisk::random(geometry, random, 3 * kMiB);
  Disk disk;
  auto writer = BulkWriter::start(disk.file, model.description(), model.plan(random), {});
  EXPECT_TRUE(succeeded(writer));
  model.write_to(**writer, random);
  EXPECT_TRUE(succeeded((*writer)->seal()));
  disk.bytes.resize(geometry.virtual_size_bytes);
  model.fill(0, disk.bytes);
  return disk;
}

TEST(ExportToFile, WritesTheContentAndLeavesHoles) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20; ++round) {
    const Disk disk = random_disk(random);
    const auto content = vhdx_content(disk.file);
    MemoryFile target("target");
    ASSERT_TRUE(succeeded(export_to_file(*content, target)));
    std::vector<std::byte> found(disk.bytes.size() + 1);
    const auto got = target.read_some_at(0, found);
    ASSERT_TRUE(succeeded(got));
    ASSERT_EQ(*got, disk.bytes.size());
    found.pop_back();
    ASSERT_TRUE(found == disk.bytes);
    // Every 64 KiB that are zero are a hole.
    for (std::uint64_t at = 0; at < disk.bytes.size(); at += 65536) {
      const auto begin = disk.bytes.begin() + static_cast<std::ptrdiff_t>(at);
      const std::uint64_t length = std::min<std::uint64_t>(65536, disk.bytes.size() - at);
      if (std::any_of(begin, begin + static_cast<std::ptrdiff_t>(length),
                      [](std::byte b) { return b != std::byte{0}; })) {
        continue;
      }
      const auto run = target.next_data(at);
      ASSERT_TRUE(succeeded(run));
      ASSERT_TRUE(run->begin >= at + length || run->begin == run->end) << at;
    }
  }
}

TEST(ExportToFile, TargetThatHasASizeReadsZeroWhereTheContentIs) {
  std::mt19937_64 random(11);
  const Disk disk = random_disk(random);
  const auto content = vhdx_content(disk.file);
  MemoryFile target("target");
  const std::vector<std::byte> garbage(disk.bytes.size() + 5000, std::byte{0x77});
  ASSERT_TRUE(succeeded(target.write_at(0, garbage)));
  ASSERT_TRUE(succeeded(export_to_file(*content, target)));
  std::vector<std::byte> found(disk.bytes.size());
  ASSERT_TRUE(succeeded(read_exact_at(target, 0, found, "target")));
  EXPECT_TRUE(found == disk.bytes);
  MemoryFile small("small");
  ASSERT_TRUE(succeeded(small.resize(disk.bytes.size() - 1)));
  EXPECT_TRUE(failed_with(export_to_file(*content, small), BaseErrc::kInvalidArgument, "small:"));
}

TEST(ExportToStream, WritesEveryByteInOrder) {
  std::mt19937_64 random(13);
  const Disk disk = random_disk(random);
  const auto content = vhdx_content(disk.file);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  std::vector<std::byte> found;
  std::thread reader([&] {
    std::vector<std::byte> piece(100000);
    while (true) {
      const ssize_t got = ::read(ends[0], piece.data(), piece.size());
      if (got <= 0) break;
      found.insert(found.end(), piece.begin(), piece.begin() + got);
    }
  });
  const auto written = export_to_stream(*content, ends[1], "pipe");
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  ASSERT_TRUE(succeeded(written));
  EXPECT_TRUE(found == disk.bytes);
  const auto closed = export_to_stream(*content, -1, "closed pipe");
  ASSERT_TRUE(closed.has_error());
  EXPECT_EQ(closed.error().subject, "closed pipe");
}

}  // namespace
}  // namespace vhdxm::vhdx
