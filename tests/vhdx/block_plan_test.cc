// The block plan against a naive one: a vector of uses, and a walk over all of it.
#include "vhdx/block_plan.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/memory_file.h"
#include "tests/support/random_seed.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/layer.h"

namespace vhdxm::vhdx {
namespace {

using test::random_seed;
using test::repeat_with;

Geometry geometry_of(DiskType type, std::uint64_t blocks, std::uint32_t block_mib,
                     std::uint32_t sector = 512) {
  return {.virtual_size_bytes = blocks * block_mib * kMiB,
          .block_bytes = static_cast<std::uint32_t>(block_mib * kMiB),
          .logical_sector_bytes = sector,
          .physical_sector_bytes = 4096,
          .type = type};
}

/// Where everything stands by the words of block_plan.h.
struct NaiveLayout {
  std::map<std::uint64_t, std::uint64_t> blocks;
  std::map<std::uint64_t, std::uint64_t> bitmaps;
  std::uint64_t end = 0;
};

NaiveLayout naive_layout(const Geometry& geometry, const std::vector<BlockUse>& uses,
                         std::uint64_t begin) {
  NaiveLayout layout;
  layout.end = begin;
  const std::uint64_t ratio = geometry.chunk_ratio();
  for (std::uint64_t block = 0; block < uses.size(); ++block) {
    if (block % ratio == 0) {
      bool partial = false;
      for (std::uint64_t i = block; i < std::min<std::uint64_t>(block + ratio, uses.size()); ++i) {
        partial |= uses[i] == BlockUse::kPartial;
      }
      if (partial) {
        layout.bitmaps[block / ratio] = layout.end;
        layout.end += kMiB;
      }
    }
    if (uses[block] == BlockUse::kAbsent) continue;
    layout.blocks[block] = layout.end;
    layout.end += geometry.block_bytes;
  }
  return layout;
}

void expect_as_naive(const Geometry& geometry, const std::vector<BlockUse>& uses) {
  BlockPlan plan(geometry);
  for (std::uint64_t block = 0; block < uses.size(); ++block) plan.set(block, uses[block]);
  plan.seal(7 * kMiB);
  const NaiveLayout naive = naive_layout(geometry, uses, 7 * kMiB);
  EXPECT_EQ(plan.file_bytes(), naive.end);
  EXPECT_EQ(plan.present_count(), naive.blocks.size());
  std::uint64_t next = uses.size();
  for (std::uint64_t block = uses.size(); block-- > 0;) {
    ASSERT_EQ(plan.use(block), uses[block]) << block;
    if (uses[block] != BlockUse::kAbsent) {
      ASSERT_EQ(plan.payload_offset(block), naive.blocks.at(block)) << block;
      next = block;
    }
    ASSERT_EQ(plan.next_present(block, uses.size()), next) << block;
    ASSERT_EQ(plan.next_present(block, block), block);
    ASSERT_EQ(plan.next_present(block, block + 1), std::min(next, block + 1));
  }
  for (std::uint64_t chunk = 0; chunk < geometry.chunk_count(); ++chunk) {
    const auto found = plan.bitmap_offset(chunk);
    const auto expected = naive.bitmaps.find(chunk);
    ASSERT_EQ(found.has_value(), expected != naive.bitmaps.end()) << chunk;
    if (found) {
      ASSERT_EQ(*found, expected->second) << chunk;
    }
  }
}

TEST(BlockPlan, LaysOutAsTheNaiveOneDoes) {
  const auto seed = random_seed();
  SCOPED_TRACE(repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 60; ++round) {
    constexpr std::array<std::uint32_t, 5> kBlockMib = {1, 2, 32, 128, 256};
    const auto type = random() % 3 == 0 ? DiskType::kDynamic : DiskType::kDifferencing;
    const Geometry geometry =
        geometry_of(type, 1 + random() % 9000, kBlockMib[random() % kBlockMib.size()],
                    random() % 2 == 0 ? 512 : 4096);
    std::vector<BlockUse> uses(geometry.block_count());
    const std::uint64_t density = 1 + random() % 300;
    const bool partials = type == DiskType::kDifferencing && random() % 4 != 0;
    for (BlockUse& use : uses) {
      if (random() % density != 0) continue;
      use = partials && random() % 2 == 0 ? BlockUse::kPartial : BlockUse::kFull;
    }
    expect_as_naive(geometry, uses);
  }
}

TEST(BlockPlan, EveryDensePlanAroundGroupAndChunkBoundaries) {
  for (const std::uint64_t blocks :
       {1U, 4U, 15U, 16U, 17U, 31U, 32U, 33U, 1023U, 1024U, 1025U, 4097U}) {
    for (const std::uint32_t block_mib : {1U, 256U}) {
      const Geometry geometry = geometry_of(DiskType::kDifferencing, blocks, block_mib);
      expect_as_naive(geometry, std::vector(blocks, BlockUse::kAbsent));
      expect_as_naive(geometry, std::vector(blocks, BlockUse::kFull));
      expect_as_naive(geometry, std::vector(blocks, BlockUse::kPartial));
    }
  }
}

TEST(BlockPlan, LargestDiskAddsUp) {
  const Geometry geometry = geometry_of(DiskType::kDifferencing, std::uint64_t{1} << 26, 1);
  ASSERT_EQ(geometry.virtual_size_bytes, kVirtualSizeMax);
  BlockPlan plan(geometry);
  const std::vector<std::byte> all_partial(plan.encoded().size(), std::byte{0xaa});
  ASSERT_FALSE(plan.decode(0, all_partial).has_error());
  plan.seal(600 * kMiB);
  const std::uint64_t last = geometry.block_count() - 1;
  EXPECT_EQ(plan.present_count(), geometry.block_count());
  EXPECT_EQ(plan.file_bytes(), 600 * kMiB + kVirtualSizeMax + geometry.chunk_count() * kMiB);
  EXPECT_EQ(plan.payload_offset(last), plan.file_bytes() - kMiB);
  EXPECT_EQ(plan.bitmap_offset(geometry.chunk_count() - 1),
            plan.file_bytes() - kMiB - geometry.chunk_ratio() * kMiB);
}

TEST(BlockPlan, DiskWithoutBlocksIsEmpty) {
  BlockPlan plan(geometry_of(DiskType::kDynamic, 0, 1));
  EXPECT_TRUE(plan.encoded().empty());
  plan.seal(kMiB);
  EXPECT_EQ(plan.file_bytes(), kMiB);
  EXPECT_EQ(plan.next_present(0, 0), 0U);
}

TEST(BlockPlan, FixedDisksAreFullFromTheStart) {
  for (const std::uint64_t blocks : {1U, 3U, 4U, 5U, 1021U}) {
    BlockPlan plan(geometry_of(DiskType::kFixed, blocks, 2));
    for (std::uint64_t block = 0; block < blocks; ++block) {
      ASSERT_EQ(plan.use(block), BlockUse::kFull);
    }
    plan.seal(kMiB);
    EXPECT_EQ(plan.present_count(), blocks);
  }
}

TEST(BlockPlan, EncodedFormGoesRoundInPieces) {
  const auto seed = random_seed();
  SCOPED_TRACE(repeat_with(seed));
  std::mt19937_64 random(seed);
  const Geometry geometry = geometry_of(DiskType::kDifferencing, 10001, 1);
  BlockPlan plan(geometry);
  for (std::uint64_t block = 0; block < geometry.block_count(); ++block) {
    plan.set(block, static_cast<BlockUse>(random() % 3));
  }
  BlockPlan copy(geometry);
  const auto bytes = plan.encoded();
  EXPECT_EQ(bytes.size(), 2501U);
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = std::min<std::size_t>(1 + random() % 700, bytes.size() - at);
    ASSERT_FALSE(copy.decode(at, bytes.subspan(at, length)).has_error());
    at += length;
  }
  for (std::uint64_t block = 0; block < geometry.block_count(); ++block) {
    ASSERT_EQ(copy.use(block), plan.use(block));
  }
}

TEST(BlockPlan, FirstBlockIsInTheLowestBits) {
  BlockPlan plan(geometry_of(DiskType::kDifferencing, 5, 1));
  plan.set(0, BlockUse::kFull);
  plan.set(3, BlockUse::kPartial);
  plan.set(4, BlockUse::kPartial);
  ASSERT_EQ(plan.encoded().size(), 2U);
  EXPECT_EQ(plan.encoded()[0], std::byte{0x81});
  EXPECT_EQ(plan.encoded()[1], std::byte{0x02});
}

struct BadBytes {
  const char* name;
  DiskType type;
  std::uint64_t first_byte;
  std::vector<std::byte> bytes;
};

TEST(BlockPlan, DecodeRefusesWhatMeansNothing) {
  const std::vector<BadBytes> cases = {
      {"value 3", DiskType::kDifferencing, 0, {std::byte{0x30}}},
      {"past the last block", DiskType::kDynamic, 1, {std::byte{0x10}}},
      {"past the last byte", DiskType::kDynamic, 1, {std::byte{0}, std::byte{0}}},
      {"beyond", DiskType::kDynamic, 3, {}},
      {"far beyond", DiskType::kDynamic, ~std::uint64_t{0}, {std::byte{0}}},
      {"partial in dynamic", DiskType::kDynamic, 0, {std::byte{0x08}}},
      {"partial in fixed", DiskType::kFixed, 0, {std::byte{0x95}}},
      {"absent in fixed", DiskType::kFixed, 0, {std::byte{0x54}}},
      {"absent at the end of fixed", DiskType::kFixed, 1, {std::byte{0x01}}}};
  for (const BadBytes& bad : cases) {
    BlockPlan plan(geometry_of(bad.type, 6, 1));
    EXPECT_TRUE(plan.decode(bad.first_byte, bad.bytes).has_error()) << bad.name;
  }
  BlockPlan plan(geometry_of(DiskType::kFixed, 6, 1));
  const std::vector<std::byte> full = {std::byte{0x55}, std::byte{0x05}};
  EXPECT_FALSE(plan.decode(0, full).has_error());
}

TEST(BlockPlan, OfLayerSaysWhatTheLayerHolds) {
  const Geometry geometry = geometry_of(DiskType::kDifferencing, 40, 256);
  Description description{
      .geometry = geometry,
      .virtual_disk_id = Guid::random(),
      .data_write_guid = Guid::random(),
      .parent = ParentLocator{{{"parent_linkage", "{" + to_string(Guid::random()) + "}"},
                               {"relative_path", ".\\p.vhdx"}}},
      .opaque_items = {}};
  BlockPlan plan(geometry);
  plan.set(1, BlockUse::kFull);
  plan.set(17, BlockUse::kPartial);
  plan.set(39, BlockUse::kPartial);
  const auto file = std::make_shared<MemoryFile>();
  auto writer = BulkWriter::start(file, description, plan, {});
  ASSERT_FALSE(writer.has_error()) << describe(writer.error());
  // All sectors of one planned-partial block: it arrives as a full one.
  ASSERT_FALSE((*writer)->mark(ExtentKind::kZero, 39 * 256 * kMiB, 256 * kMiB).has_error());
  ASSERT_FALSE((*writer)->seal().has_error());
  auto layer = Layer::open(file, Layer::Replay::kInMemory);
  ASSERT_FALSE(layer.has_error()) << describe(layer.error());
  auto found = BlockPlan::of_disk(**layer);
  ASSERT_FALSE(found.has_error()) << describe(found.error());
  for (std::uint64_t block = 0; block < 40; ++block) {
    const BlockUse expected = block == 1 || block == 39 ? BlockUse::kFull
                              : block == 17             ? BlockUse::kPartial
                                                        : BlockUse::kAbsent;
    EXPECT_EQ(found->use(block), expected) << block;
  }
}

}  // namespace
}  // namespace vhdxm::vhdx
