#include "tests/support/model_disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <string>

#include "base/hash128.h"

namespace vhdxm::test {
namespace {

using vhdx::BlockPlan;
using vhdx::BlockUse;
using vhdx::DiskType;
using vhdx::Extent;
using vhdx::ExtentKind;
using vhdx::Geometry;
using vhdx::kMiB;

std::uint64_t mixed(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

Guid guid_of(std::uint64_t seed) {
  Guid guid;
  const std::uint64_t high = mixed(seed);
  std::memcpy(guid.bytes.data(), &high, sizeof high);
  std::memcpy(guid.bytes.data() + 8, &seed, sizeof seed);
  return guid;
}

std::uint64_t below(std::mt19937_64& random, std::uint64_t limit) {
  return random() % limit;
}

bool shows_parent(const Segment& segment) {
  return segment.kind == ExtentKind::kParent;
}

}  // namespace

ModelDisk::ModelDisk(Geometry geometry, std::vector<Segment> segments, std::uint64_t seed)
    : geometry_(geometry), segments_(std::move(segments)), seed_(seed) {
  description_.geometry = geometry;
  description_.virtual_disk_id = guid_of(seed + 1);
  description_.data_write_guid = guid_of(seed + 2);
  if (geometry.type == DiskType::kDifferencing) {
    description_.parent =
        vhdx::ParentLocator{{{"parent_linkage", "{" + to_string(guid_of(seed + 3)) + "}"},
                             {"relative_path", ".\\parent-\xc3\xa4.vhdx"}}};
  }
  description_.opaque_items = {
      {.item_id = guid_of(seed + 4),
       .flags = vhdx::kMetadataIsUser,
       .content = std::vector<std::byte>(static_cast<std::size_t>(1 + seed % 5000), std::byte{7})},
      {.item_id = guid_of(seed + 5), .flags = vhdx::kMetadataIsVirtualDisk, .content = {}}};
}

ModelDisk ModelDisk::random(const Geometry& geometry, std::mt19937_64& random,
                            std::uint64_t data_bytes_max) {
  const std::uint64_t sector = geometry.logical_sector_bytes;
  const std::uint64_t sectors = geometry.virtual_size_bytes / sector;
  const std::uint64_t block_sectors = geometry.block_bytes / sector;
  const std::uint64_t chunk_sectors = vhdx::kSectorsPerBitmapBlock;
  std::set<std::uint64_t> cuts = {0, sectors};
  for (std::uint64_t count = 4 + below(random, 20); count > 0; --count) {
    std::uint64_t at = below(random, sectors);
    const std::uint64_t kind = below(random, 4);
    if (kind == 0) at = at / block_sectors * block_sectors;
    if (kind == 1) at = at / chunk_sectors * chunk_sectors;
    if (kind == 2) at = sectors - std::min(sectors, below(random, 2 * block_sectors));
    at += below(random, 20);
    if (at >= 10) at -= 10;
    if (at >= sectors) continue;
    cuts.insert(at);
    // A short piece, most of which hold data.
    cuts.insert(std::min(sectors, at + 1 + below(random, 100)));
  }
  std::vector<Segment> segments;
  for (auto cut = cuts.begin(); std::next(cut) != cuts.end(); ++cut) {
    Segment segment{.offset = *cut * sector, .length = (*std::next(cut) - *cut) * sector};
    constexpr std::array kKinds = {ExtentKind::kData, ExtentKind::kZero, ExtentKind::kUnmapped,
                                   ExtentKind::kParent};
    segment.kind = kKinds[below(random, geometry.type == DiskType::kDifferencing ? 4 : 3)];
    if (segment.length < kMiB && below(random, 2) == 0) segment.kind = ExtentKind::kData;
    if (segment.kind == ExtentKind::kData) {
      if (segment.length > data_bytes_max) {
        segment.kind = ExtentKind::kUnmapped;
      } else {
        data_bytes_max -= segment.length;
        segment.zero_bytes = below(random, 4) == 0;
      }
    }
    segments.push_back(segment);
  }
  return {geometry, std::move(segments), random()};
}

BlockPlan ModelDisk::plan(std::mt19937_64& random) const {
  return plan_with([&random](unsigned n) { return below(random, n) == 0; });
}

BlockPlan ModelDisk::tight_plan() const {
  return plan_with([](unsigned) { return false; });
}

BlockPlan ModelDisk::plan_with(const std::function<bool(unsigned)>& one_in) const {
  BlockPlan plan(geometry_);
  if (geometry_.type == DiskType::kFixed) return plan;
  const std::uint64_t block_bytes = geometry_.block_bytes;
  const auto end_of = [&](std::uint64_t block) {
    return std::min((block + 1) * block_bytes, geometry_.virtual_size_bytes);
  };
  for (const Segment& segment : segments_) {
    const std::uint64_t last = (segment.end() - 1) / block_bytes;
    for (std::uint64_t block = segment.offset / block_bytes; block <= last; ++block) {
      const bool covers = segment.offset <= block * block_bytes && segment.end() >= end_of(block);
      if (segment.kind != ExtentKind::kData && covers) {
        // Could be absent, and nearly always is: skip what surely is at once.
        if (last - block > 1000) block = last - 2;
        if (!one_in(8)) continue;
        if (!shows_parent(segment)) plan.set(block, BlockUse::kFull);
        if (geometry_.type == DiskType::kDifferencing) plan.set(block, BlockUse::kPartial);
        continue;
      }
      if (geometry_.type != DiskType::kDifferencing) {
        plan.set(block, BlockUse::kFull);
        continue;
      }
      bool partial = one_in(3);
      for (const Segment& other : segments_) {
        partial |= shows_parent(other) && other.offset < end_of(block) &&
                   other.end() > block * block_bytes;
      }
      plan.set(block, partial ? BlockUse::kPartial : BlockUse::kFull);
    }
  }
  return plan;
}

std::vector<ModelDisk::Operation> ModelDisk::operations(const BlockPlan& plan,
                                                        std::mt19937_64& random) const {
  std::vector<Operation> operations;
  const std::uint64_t sector = geometry_.logical_sector_bytes;
  const std::uint64_t block_bytes = geometry_.block_bytes;
  for (const Segment& segment : segments_) {
    for (std::uint64_t at = segment.offset; at < segment.end();) {
      const std::uint64_t rest = segment.end() - at;
      Operation operation = segment;
      operation.offset = at;
      if (segment.kind == ExtentKind::kData) {
        operation.length = std::min(rest, (1 + below(random, 4000)) * sector);
      } else if (plan.use(at / block_bytes) == BlockUse::kAbsent) {
        // Must not end inside a block, unless the segment does.
        const std::uint64_t blocks = below(random, 2) == 0 ? 1 : geometry_.block_count();
        operation.length = std::min(rest, blocks * block_bytes - at % block_bytes);
      } else {
        operation.length = std::min(rest, block_bytes - at % block_bytes);
        if (below(random, 2) == 0) {
          operation.length = std::min(operation.length, (1 + below(random, 4000)) * sector);
        }
      }
      operations.push_back(operation);
      at += operation.length;
    }
  }
  std::shuffle(operations.begin(), operations.end(), random);
  return operations;
}

Result<void> ModelDisk::apply(vhdx::BulkWriter& writer, const Operation& operation) const {
  if (operation.kind != ExtentKind::kData) {
    return writer.mark(operation.kind, operation.offset, operation.length);
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(operation.length));
  fill(operation.offset, bytes);
  return writer.write(operation.offset, bytes);
}

void ModelDisk::write_to(vhdx::BulkWriter& writer, std::mt19937_64& random) const {
  for (const Operation& operation : operations(writer.plan(), random)) {
    const auto applied = apply(writer, operation);
    ASSERT_FALSE(applied.has_error()) << describe(applied.error());
  }
}

const Segment& ModelDisk::segment_at(std::uint64_t offset) const {
  return *std::prev(std::upper_bound(
      segments_.begin(), segments_.end(), offset,
      [](std::uint64_t at, const Segment& segment) { return at < segment.offset; }));
}

// Many words at a time: a sanitizer looks at every copy.
void ModelDisk::fill_pattern(std::uint64_t offset, std::span<std::byte> out) const {
  std::array<std::uint64_t, 512> words{};
  while (!out.empty()) {
    const std::uint64_t first = offset / 8;
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = mixed(seed_ ^ (first + i));
    const auto pattern = std::as_bytes(std::span(words)).subspan(offset % 8);
    const std::size_t length = std::min(pattern.size(), out.size());
    std::copy_n(pattern.begin(), length, out.begin());
    offset += length;
    out = out.subspan(length);
  }
}

void ModelDisk::fill(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const Segment& segment = segment_at(offset);
    const auto length =
        static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), segment.end() - offset));
    if (segment.kind == ExtentKind::kData && !segment.zero_bytes) {
      fill_pattern(offset, out.first(length));
    } else {
      std::fill_n(out.begin(), length, std::byte{0});
    }
    offset += length;
    out = out.subspan(length);
  }
}

void ModelDisk::expect_in(vhdx::Layer& layer) const {
  ASSERT_TRUE(layer.geometry() == geometry_);
  EXPECT_TRUE(layer.description() == description_);
  expect_range_in(layer, 0, geometry_.virtual_size_bytes);
}

void ModelDisk::expect_range_in(vhdx::Layer& layer, std::uint64_t begin, std::uint64_t end) const {
  std::vector<Extent> extents;
  for (std::uint64_t at = begin; at < end;) {
    extents.clear();
    const auto mapped = layer.map(at, end - at, extents);
    ASSERT_FALSE(mapped.has_error()) << describe(mapped.error());
    for (const Extent& extent : extents) {
      ASSERT_EQ(extent.virtual_offset, at);
      expect_extent(extent);
      if (testing::Test::HasFatalFailure()) return;
      at += extent.length;
    }
    ASSERT_EQ(at, *mapped);
  }
}

void ModelDisk::expect_extent(const Extent& extent) const {
  std::vector<std::byte> found;
  std::vector<std::byte> expected;
  for (std::uint64_t at = extent.virtual_offset; at < extent.virtual_offset + extent.length;) {
    const Segment& segment = segment_at(at);
    std::uint64_t length = std::min(segment.end(), extent.virtual_offset + extent.length) - at;
    SCOPED_TRACE("disk offset " + std::to_string(at));
    if (extent.kind != ExtentKind::kData) {
      ASSERT_EQ(shows_parent(segment), extent.kind == ExtentKind::kParent);
      ASSERT_TRUE(segment.kind != ExtentKind::kData || segment.zero_bytes);
      at += length;
      continue;
    }
    ASSERT_FALSE(shows_parent(segment));
    // Holes of the file need not be read where zeros are expected.
    const std::uint64_t file_offset = extent.file_offset + (at - extent.virtual_offset);
    if (segment.kind != ExtentKind::kData) {
      const auto run = extent.file->next_data(file_offset);
      ASSERT_FALSE(run.has_error());
      const std::uint64_t hole = run->begin >= run->end ? length : run->begin - file_offset;
      if (hole != 0) {
        at += std::min(length, hole);
        continue;
      }
    }
    length = std::min(length, kMiB);
    found.resize(static_cast<std::size_t>(length));
    expected.resize(static_cast<std::size_t>(length));
    fill(at, expected);
    const auto read = read_exact_at(*extent.file, file_offset, found, "payload");
    ASSERT_FALSE(read.has_error()) << describe(read.error());
    ASSERT_TRUE(found == expected);
    at += length;
  }
}

}  // namespace vhdxm::test
