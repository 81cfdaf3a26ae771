// The digest of a layer against its definition computed naively, and against other forms of one
// layer.
#include "vhdx/layer_digest.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "base/memory_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/model_disk.h"
#include "tests/support/random_seed.h"

namespace vhdxm::vhdx {
namespace {

using test::failed_with;
using test::ModelDisk;
using test::Segment;
using test::succeeded;

constexpr std::uint64_t kSeed = 0x1234;

std::unique_ptr<Layer> written(const ModelDisk& disk, std::mt19937_64& random) {
  const auto file = std::make_shared<MemoryFile>();
  auto writer = BulkWriter::start(file, disk.description(), disk.plan(random), {});
  EXPECT_TRUE(succeeded(writer));
  disk.write_to(**writer, random);
  EXPECT_TRUE(succeeded((*writer)->seal()));
  auto layer = Layer::open(file, Layer::Replay::kInMemory);
  EXPECT_TRUE(succeeded(layer));
  return std::move(*layer);
}

Hash128 digest_of(Layer& layer, std::uint64_t seed = kSeed, std::uint64_t cells_at_once = 4) {
  std::vector<std::byte> buffer(cells_at_once * kDigestCellBytes, std::byte{0x5a});
  const auto digest = layer_digest(layer, seed, buffer);
  EXPECT_TRUE(succeeded(digest));
  return digest.has_error() ? Hash128{} : *digest;
}

/// The words of layer_digest.h, once more, over one vector of bytes and one of sectors.
Hash128 naive_digest(const ModelDisk& disk, std::uint64_t seed) {
  const Geometry& geometry = disk.geometry();
  std::vector<std::byte> bytes(geometry.virtual_size_bytes);
  disk.fill(0, bytes);
  const std::uint64_t sector = geometry.logical_sector_bytes;
  std::vector<bool> present(geometry.virtual_size_bytes / sector);
  for (const Segment& segment : disk.segments()) {
    for (std::uint64_t at = segment.offset; at < segment.end(); at += sector) {
      present[at / sector] = segment.kind != ExtentKind::kParent;
    }
  }
  Hash128 sum;
  const auto add = [&](std::uint64_t kind, std::uint64_t offset, std::uint64_t length, Hash128 data,
                       Hash128 bits) {
    const std::array<std::uint64_t, 8> entry = {kind,      offset,   length,    data.low,
                                                data.high, bits.low, bits.high, 0};
    sum += hash128(std::as_bytes(std::span(entry)), seed);
  };
  std::uint64_t zero_begin = 0;
  std::uint64_t zero_end = 0;
  const auto end_run = [&] {
    if (zero_begin != zero_end) add(3, zero_begin, zero_end - zero_begin, {}, {});
  };
  for (std::uint64_t at = 0; at < bytes.size(); at += kDigestCellBytes) {
    const std::uint64_t length = std::min<std::uint64_t>(kDigestCellBytes, bytes.size() - at);
    const auto cell = std::span<const std::byte>(bytes).subspan(at, length);
    std::vector<std::byte> bits((length / sector + 7) / 8);
    std::uint64_t count = 0;
    for (std::uint64_t i = 0; i < length / sector; ++i) {
      if (!present[at / sector + i]) continue;
      bits[i / 8] |= static_cast<std::byte>(1U << (i % 8));
      ++count;
    }
    if (count == 0) continue;
    if (count != length / sector) {
      add(2, at, length, hash128(cell, seed), hash128(bits, seed));
    } else if (!all_zero(cell)) {
      add(1, at, length, hash128(cell, seed), {});
    } else {
      if (zero_end != at) {
        end_run();
        zero_begin = at;
      }
      zero_end = at + length;
    }
  }
  end_run();
  add(4, sector, geometry.virtual_size_bytes, {}, {});
  return sum;
}

Geometry geometry_of(DiskType type, std::uint32_t sector, std::uint64_t size) {
  return {.virtual_size_bytes = size,
          .block_bytes = static_cast<std::uint32_t>(kMiB),
          .logical_sector_bytes = sector,
          .physical_sector_bytes = 4096,
          .type = type};
}

TEST(LayerDigest, IsWhatItsDefinitionSaysInEveryForm) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < test::rounds(60); ++round) {
    const std::uint32_t sector = random() % 2 == 0 ? 512 : 4096;
    const auto type = static_cast<DiskType>(random() % 3);
    const std::uint64_t size = 4 * kMiB + random() % 1000 * sector;
    const ModelDisk disk = ModelDisk::random(geometry_of(type, sector, size), random, 3 * kMiB);
    const Hash128 expected = naive_digest(disk, kSeed);
    // Different plans: other block states, order and bitmaps, the same layer.
    for (const std::uint64_t cells : {1U, 2U, 5U, 64U}) {
      const auto layer = written(disk, random);
      ASSERT_EQ(digest_of(*layer, kSeed, cells), expected) << cells;
    }
  }
}

TEST(LayerDigest, EveryChangeChangesIt) {
  std::mt19937_64 random(3);
  const Geometry geometry = geometry_of(DiskType::kDifferencing, 512, 3 * kMiB);
  const auto digest_with = [&](std::vector<Segment> segments, std::uint64_t seed = 1) {
    const ModelDisk disk(geometry, std::move(segments), seed);
    return digest_of(*written(disk, random));
  };
  using enum ExtentKind;
  std::set<Hash128> all;
  std::size_t count = 0;
  const auto insert = [&](Hash128 hash) {
    all.insert(hash);
    ++count;
  };
  insert(digest_with({{.offset = 0, .length = 3 * kMiB, .kind = kParent}}));
  insert(digest_with({{.offset = 0, .length = 3 * kMiB, .kind = kZero}}));
  insert(digest_with({{.offset = 0, .length = kMiB, .kind = kZero},
                      {.offset = kMiB, .length = 2 * kMiB, .kind = kParent}}));
  insert(digest_with({{.offset = 0, .length = kMiB, .kind = kParent},
                      {.offset = kMiB, .length = 2 * kMiB, .kind = kZero}}));
  insert(digest_with({{.offset = 0, .length = kMiB, .kind = kParent},
                      {.offset = kMiB, .length = kMiB, .kind = kZero},
                      {.offset = 2 * kMiB, .length = kMiB, .kind = kParent}}));
  // Sectors of zeros that hide the parent.
  insert(digest_with({{.offset = 0, .length = 512, .kind = kZero},
                      {.offset = 512, .length = 3 * kMiB - 512, .kind = kParent}}));
  insert(digest_with({{.offset = 0, .length = 512, .kind = kParent},
                      {.offset = 512, .length = 512, .kind = kZero},
                      {.offset = 1024, .length = 3 * kMiB - 1024, .kind = kParent}}));
  insert(digest_with({{.offset = 0, .length = 512, .kind = kData},
                      {.offset = 512, .length = 3 * kMiB - 512, .kind = kParent}}));
  insert(digest_with({{.offset = 0, .length = 512, .kind = kData},
                      {.offset = 512, .length = 3 * kMiB - 512, .kind = kParent}},
                     2));
  insert(digest_with({{.offset = 0, .length = 3 * kMiB, .kind = kData}}));
  insert(digest_with({{.offset = 0, .length = 3 * kMiB, .kind = kData}}, 2));
  EXPECT_EQ(all.size(), count);
  // Written zeros are zeros, trimmed ones too.
  const Hash128 zero = digest_with({{.offset = 0, .length = 3 * kMiB, .kind = kZero}});
  EXPECT_EQ(zero, digest_with({{.offset = 0, .length = 3 * kMiB, .kind = kUnmapped}}));
  EXPECT_EQ(zero, digest_with({{.offset = 0, .length = kMiB, .kind = kUnmapped},
                               {.offset = kMiB, .length = kMiB, .kind = kData, .zero_bytes = true},
                               {.offset = 2 * kMiB, .length = kMiB, .kind = kZero}}));
}

TEST(LayerDigest, DependsOnSeedAndSize) {
  std::mt19937_64 random(3);
  const auto disk_of = [](std::uint64_t size) {
    return ModelDisk(geometry_of(DiskType::kDifferencing, 512, size),
                     {{.offset = 0, .length = size, .kind = ExtentKind::kParent}}, 1);
  };
  const auto layer = written(disk_of(3 * kMiB), random);
  EXPECT_EQ(digest_of(*layer, 1), digest_of(*layer, 1));
  EXPECT_NE(digest_of(*layer, 1), digest_of(*layer, 2));
  EXPECT_NE(digest_of(*layer), digest_of(*written(disk_of(3 * kMiB + 512), random)));
}

// Two hosts of different versions compute it: the value is fixed for good.
TEST(LayerDigest, KnownValue) {
  std::mt19937_64 random(3);
  const ModelDisk disk(geometry_of(DiskType::kDifferencing, 512, 2 * kMiB + 512),
                       {{.offset = 0, .length = 1536, .kind = ExtentKind::kData},
                        {.offset = 1536, .length = kMiB, .kind = ExtentKind::kParent},
                        {.offset = kMiB + 1536, .length = 500 * kKiB, .kind = ExtentKind::kData},
                        {.offset = kMiB + 1536 + 500 * kKiB,
                         .length = 524 * kKiB - 1024,
                         .kind = ExtentKind::kZero}},
                       1);
  EXPECT_EQ(to_string(digest_of(*written(disk, random), 42)), "3e26bf643e1fcd60fab33c101dfae41a");
}

TEST(LayerDigest, EmptyDiskOf64TiBCostsTwoHashes) {
  const auto file = std::make_shared<MemoryFile>();
  Description description;
  description.geometry = geometry_of(DiskType::kDynamic, 512, kVirtualSizeMax);
  description.geometry.block_bytes = 256 * kMiB;
  ASSERT_TRUE(succeeded(create(file, description)));
  auto layer = Layer::open(file, Layer::Replay::kInMemory);
  ASSERT_TRUE(succeeded(layer));
  Hash128 expected;
  for (const auto& entry : {std::array<std::uint64_t, 8>{3, 0, kVirtualSizeMax, 0, 0, 0, 0, 0},
                            std::array<std::uint64_t, 8>{4, 512, kVirtualSizeMax, 0, 0, 0, 0, 0}}) {
    expected += hash128(std::as_bytes(std::span(entry)), kSeed);
  }
  EXPECT_EQ(digest_of(**layer), expected);
}

TEST(LayerDigest, ReportsProgressAndStopsWhenTold) {
  std::mt19937_64 random(3);
  const ModelDisk disk(geometry_of(DiskType::kFixed, 512, 8 * kMiB),
                       {{.offset = 0, .length = 8 * kMiB, .kind = ExtentKind::kData}}, 1);
  const auto layer = written(disk, random);
  std::vector<std::byte> buffer(kMiB);
  std::vector<std::uint64_t> seen;
  std::atomic<bool> cancel = false;
  WorkWatch watch;
  watch.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(total, 8 * kMiB);
    seen.push_back(done);
  };
  ASSERT_TRUE(succeeded(layer_digest(*layer, kSeed, buffer, watch)));
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_GE(seen.size(), 8U);
  EXPECT_EQ(seen.back(), 8 * kMiB);
  watch.cancel = &cancel;
  watch.progress = [&](std::uint64_t done, std::uint64_t) { cancel = done >= 3 * kMiB; };
  EXPECT_TRUE(failed_with(layer_digest(*layer, kSeed, buffer, watch), BaseErrc::kCancelled));
}

}  // namespace
}  // namespace vhdxm::vhdx
