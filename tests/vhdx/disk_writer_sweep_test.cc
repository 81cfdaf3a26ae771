// Every shape of disk, written at every boundary that its shape has: sectors, blocks, chunks, the
// sizes where 32 bits end, and chains of parents.
#include <gtest/gtest.h>

#include <random>

#include "base/memory_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/sector_model.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/check.h"
#include "vhdx/disk_writer.h"
#include "vhdx/parent_link.h"

namespace vhdxm::vhdx {
namespace {

using test::kTornUnitBytes;
using test::succeeded;

std::shared_ptr<MemoryFile> make(const Description& description) {
  auto file = std::make_shared<MemoryFile>("disk.vhdx");
  EXPECT_TRUE(succeeded(create(file, description)));
  return file;
}

std::unique_ptr<Layer> open_layer(const std::shared_ptr<File>& file) {
  auto layer = Layer::open(file, Layer::Replay::kInMemory);
  EXPECT_TRUE(succeeded(layer));
  return std::move(*layer);
}

std::shared_ptr<MemoryFile> make_child(const std::shared_ptr<MemoryFile>& parent) {
  const auto layer = open_layer(parent);
  const std::string guid = "{" + to_string(layer->description().data_write_guid) + "}";
  return make(describe_child(layer->description(),
                             {{{"parent_linkage", guid}, {"relative_path", ".\\parent.vhdx"}}}));
}

/// Sectors on both sides of everything that can be a boundary in this geometry. Bytes.
std::set<std::uint64_t> boundary_offsets(const Geometry& geometry) {
  std::set<std::uint64_t> offsets;
  const std::uint64_t sector = geometry.logical_sector_bytes;
  const std::uint64_t size = geometry.virtual_size_bytes;
  const std::uint64_t block = geometry.block_bytes;
  const std::uint64_t chunk = geometry.chunk_ratio() * block;
  const std::uint64_t bitmap_page = kLogSectorBytes * 8 * sector;
  const std::uint64_t bat_page = kLogSectorBytes / kBatEntryBytes * block;
  for (const std::uint64_t at :
       {std::uint64_t{0}, block, size / block / 2 * block, chunk, bitmap_page, bat_page, 4 * kGiB,
        2 * kTiB, size - size % block, size}) {
    for (const std::uint64_t place : {at - sector, at}) {
      if (place <= size - sector) offsets.insert(place);
    }
  }
  return offsets;
}

/// Writes each of `offsets` with its own tag, from `tag` on, and reads them again, now and from the
/// closed file.
void write_and_read(const std::shared_ptr<MemoryFile>& file,
                    const std::function<std::vector<std::unique_ptr<Layer>>()>& parents,
                    const std::set<std::uint64_t>& offsets, std::uint32_t tag) {
  auto disk = DiskWriter::over(file, parents(), {});
  ASSERT_TRUE(succeeded(disk));
  std::vector<std::byte> bytes((*disk)->geometry().logical_sector_bytes);
  const auto expect_tags = [&](DiskWriter& reader) {
    std::uint32_t expected = tag;
    for (const std::uint64_t offset : offsets) {
      ASSERT_TRUE(succeeded(reader.read(offset, bytes)));
      EXPECT_EQ(test::tag_of(std::span(bytes).first(kTornUnitBytes), offset / kTornUnitBytes),
                expected)
          << "at " << offset;
      ++expected;
    }
  };
  std::uint32_t next = tag;
  for (const std::uint64_t offset : offsets) {
    test::fill_tagged(bytes, offset / kTornUnitBytes, next++);
    ASSERT_TRUE(succeeded((*disk)->write(offset, bytes)));
  }
  expect_tags(**disk);
  ASSERT_TRUE(succeeded((*disk)->close()));
  auto again = DiskWriter::over(file, parents(), {});
  ASSERT_TRUE(succeeded(again));
  expect_tags(**again);
}

void expect_sound(const std::shared_ptr<File>& file) {
  const auto report = check(file);
  ASSERT_TRUE(succeeded(report));
  for (const Finding& finding : report->findings) {
    EXPECT_EQ(finding.severity, Finding::Severity::kNote) << finding.rule << " " << finding.what;
  }
}

TEST(DiskWriterSweep, EveryBlockSizeSectorSizeAndSizeAtItsBoundaries) {
  int disks = 0;
  for (const std::uint32_t sector : {512U, 4096U}) {
    for (std::uint32_t block = 1 << 20; block <= 256U << 20; block *= 4) {
      const std::uint64_t chunk = kSectorsPerBitmapBlock * sector;
      std::set<std::uint64_t> sizes = {sector,        block - sector, block,    block + sector,
                                       chunk - block, chunk + sector, 4 * kGiB, 2 * kTiB};
      if (block >= 64U << 20) sizes.insert(kVirtualSizeMax);
      for (const std::uint64_t size : sizes) {
        for (const DiskType type : {DiskType::kDynamic, DiskType::kDifferencing}) {
          SCOPED_TRACE(testing::Message() << to_string(type) << " sector " << sector << " block "
                                          << block << " size " << size);
          Description description;
          description.geometry = {.virtual_size_bytes = size,
                                  .block_bytes = block,
                                  .logical_sector_bytes = sector,
                                  .physical_sector_bytes = 4096};
          const auto base = make(description);
          const auto offsets = boundary_offsets(description.geometry);
          const auto none = [] { return std::vector<std::unique_ptr<Layer>>(); };
          std::shared_ptr<MemoryFile> file = base;
          if (type == DiskType::kDynamic) {
            write_and_read(base, none, offsets, 1);
          } else {
            file = make_child(base);
            const auto parents = [&] {
              std::vector<std::unique_ptr<Layer>> layers;
              layers.push_back(open_layer(base));
              return layers;
            };
            write_and_read(file, parents, offsets, 100);
          }
          expect_sound(file);
          ++disks;
          if (HasFailure()) return;
        }
      }
    }
  }
  std::cout << disks << " shapes of disk\n";
}

TEST(DiskWriterSweep, ChainsOfOneTwoThreeAndTen) {
  for (const std::size_t depth : {1U, 2U, 3U, 10U}) {
    SCOPED_TRACE(depth);
    Description description;
    description.geometry = {.virtual_size_bytes = 20 * kMiB, .block_bytes = 2 << 20};
    std::vector<std::shared_ptr<MemoryFile>> files = {make(description)};
    const auto parents = [&] {
      std::vector<std::unique_ptr<Layer>> layers;
      for (std::size_t i = files.size() - 1; i-- > 0;) layers.push_back(open_layer(files[i]));
      return layers;
    };
    std::vector<std::byte> bytes(512);
    // Each layer writes a sector of its own and overwrites one that all write.
    for (std::size_t layer = 0; layer < depth; ++layer) {
      if (layer != 0) files.push_back(make_child(files.back()));
      const auto tag = static_cast<std::uint32_t>(layer + 1);
      write_and_read(files.back(), parents, {layer * kMiB + 512, 19 * kMiB}, tag);
      expect_sound(files.back());
      // write_and_read() gives the second sector the tag that follows.
      auto disk = DiskWriter::over(files.back(), parents(), {});
      ASSERT_TRUE(succeeded(disk));
      for (std::size_t below = 0; below <= layer; ++below) {
        const std::uint64_t offset = below * kMiB + 512;
        ASSERT_TRUE(succeeded((*disk)->read(offset, bytes)));
        EXPECT_EQ(test::tag_of(bytes, offset / kTornUnitBytes), below + 1);
      }
      ASSERT_TRUE(succeeded((*disk)->read(19 * kMiB, bytes)));
      EXPECT_EQ(test::tag_of(bytes, 19 * kMiB / kTornUnitBytes), tag + 1);
    }
  }
}

}  // namespace
}  // namespace vhdxm::vhdx
