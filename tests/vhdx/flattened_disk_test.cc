// A chain shown as one disk: its map, its blocks, its identity.
#include "vhdx/flattened_disk.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/memory_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/model_disk.h"
#include "tests/support/random_seed.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/block_plan.h"
#include "vhdx/bulk_writer.h"

namespace vhdxm::vhdx {
namespace {

using test::braced;
using test::ModelDisk;
using test::random_seed;
using test::repeat_with;
using test::Segment;
using test::succeeded;

constexpr std::uint64_t kSize = 24 * kMiB + 512;

Geometry geometry(std::uint32_t block_mib, DiskType type, std::uint64_t size = kSize) {
  return {.virtual_size_bytes = size,
          .block_bytes = block_mib << 20,
          .logical_sector_bytes = 512,
          .physical_sector_bytes = 512,
          .type = type};
}

std::unique_ptr<Layer> written(const ModelDisk& model, const Guid& identity,
                               const std::optional<Guid>& parent, std::mt19937_64& random) {
  Description description = model.description();
  description.data_write_guid = identity;
  if (parent) {
    description.parent =
        ParentLocator{{{"parent_linkage", braced(*parent)}, {"relative_path", "p"}}};
  }
  const auto file = std::make_shared<MemoryFile>();
  auto writer = BulkWriter::start(file, description, model.plan(random), {}).value();
  model.write_to(*writer, random);
  EXPECT_TRUE(succeeded(writer->seal()));
  return Layer::open(file, Layer::Replay::kInMemory).value();
}

/// `models`: leaf first.
std::unique_ptr<Image> chain_of(const std::vector<ModelDisk>& models, std::mt19937_64& random) {
  std::vector<std::unique_ptr<Layer>> layers;
  std::vector<Guid> identities;
  for (std::size_t i = 0; i < models.size(); ++i) identities.push_back(Guid::random());
  for (std::size_t i = 0; i < models.size(); ++i) {
    const bool last = i + 1 == models.size();
    layers.push_back(written(models[i], identities[i],
                             last ? std::nullopt : std::optional(identities[i + 1]), random));
  }
  return Image::from_layers(std::move(layers)).value();
}

std::vector<Extent> map_all(DiskView& disk, std::size_t extents_max) {
  std::vector<Extent> all;
  const std::uint64_t size = disk.geometry().virtual_size_bytes;
  for (std::uint64_t at = 0; at < size;) {
    std::vector<Extent> some;
    const auto to = disk.map(at, size - at, some, extents_max);
    EXPECT_TRUE(succeeded(to));
    if (to.has_error() || some.empty()) return {};
    EXPECT_LE(some.size(), extents_max);
    for (const Extent& extent : some) {
      EXPECT_EQ(extent.virtual_offset, at);
      at += extent.length;
      all.push_back(extent);
    }
    EXPECT_EQ(at, *to);
  }
  return all;
}

/// The map has the content of the chain, and suits a writer that follows the plan.
void expect_good_map(FlattenedDisk& disk, Image& image, std::size_t extents_max) {
  const BlockPlan plan = BlockPlan::of_disk(disk).value();
  std::vector<bool> has_data(static_cast<std::size_t>(disk.geometry().block_count()));
  const std::uint64_t block_bytes = disk.geometry().block_bytes;
  for (const Extent& extent : map_all(disk, extents_max)) {
    ASSERT_NE(extent.kind, ExtentKind::kParent);
    const std::uint64_t end = extent.virtual_offset + extent.length;
    std::vector<std::byte> expected(static_cast<std::size_t>(extent.length));
    std::vector<std::byte> found(expected.size());
    ASSERT_TRUE(succeeded(image.read(extent.virtual_offset, expected)));
    if (extent.kind == ExtentKind::kData) {
      ASSERT_TRUE(succeeded(read_exact_at(*extent.file, extent.file_offset, found, "data")));
    }
    ASSERT_EQ(found, expected) << extent.virtual_offset;
    for (std::uint64_t block = extent.virtual_offset / block_bytes;
         block <= (end - 1) / block_bytes; ++block) {
      if (extent.kind == ExtentKind::kData) {
        has_data[static_cast<std::size_t>(block)] = true;
      } else if (plan.use(block) == BlockUse::kAbsent) {
        // A writer takes nothing less than the whole of it.
        ASSERT_LE(extent.virtual_offset, block * block_bytes);
        ASSERT_GE(end, std::min((block + 1) * block_bytes, disk.geometry().virtual_size_bytes));
      }
    }
  }
  for (std::uint64_t block = 0; block < has_data.size(); ++block) {
    EXPECT_EQ(plan.use(block),
              has_data[static_cast<std::size_t>(block)] ? BlockUse::kFull : BlockUse::kAbsent);
  }
}

TEST(FlattenedDisk, ShowsTheContentOfAnyChain) {
  const std::uint64_t seed = random_seed();
  SCOPED_TRACE(repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < test::rounds(12); ++round) {
    std::vector<ModelDisk> models;
    const std::size_t layers = 2 + random() % 3;
    for (std::size_t i = 0; i < layers; ++i) {
      const bool last = i + 1 == layers;
      const auto size = last && random() % 2 == 0 ? kSize - 5 * kMiB : kSize;
      models.push_back(ModelDisk::random(
          geometry(1U << random() % 4, last ? DiskType::kDynamic : DiskType::kDifferencing, size),
          random, 6 * kMiB));
    }
    const auto chain = chain_of(models, random);
    FlattenedDisk disk(*chain);
    for (const std::size_t extents_max : {1U, 3U, 1000U}) {
      SCOPED_TRACE(extents_max);
      expect_good_map(disk, *chain, extents_max);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(FlattenedDisk, ABlockOfSeveralKindsWithoutDataIsZeroAsAWhole) {
  std::mt19937_64 random(1);
  // The child's blocks have 4 MiB, the parent's 1 MiB: one of them zero, the others unmapped.
  const auto parent =
      ModelDisk(geometry(1, DiskType::kDynamic, 8 * kMiB),
                {{.offset = 0, .length = 2 * kMiB, .kind = ExtentKind::kUnmapped},
                 {.offset = 2 * kMiB, .length = kMiB, .kind = ExtentKind::kZero},
                 {.offset = 3 * kMiB, .length = 5 * kMiB, .kind = ExtentKind::kUnmapped}},
                1);
  const auto child = ModelDisk(geometry(4, DiskType::kDifferencing, 8 * kMiB),
                               {{.offset = 0, .length = 8 * kMiB, .kind = ExtentKind::kParent}}, 2);
  const auto chain = chain_of({child, parent}, random);
  FlattenedDisk disk(*chain);
  const auto extents = map_all(disk, 100);
  ASSERT_EQ(extents.size(), 2U);
  EXPECT_EQ(extents[0].kind, ExtentKind::kZero);
  EXPECT_EQ(extents[0].length, 4 * kMiB);
  EXPECT_EQ(extents[1].kind, ExtentKind::kUnmapped);
}

TEST(FlattenedDisk, IsTheSameVirtualDiskWithContentOfItsOwn) {
  std::mt19937_64 random(2);
  const auto parent = ModelDisk::random(geometry(1, DiskType::kDynamic), random, kMiB);
  const auto child = ModelDisk::random(geometry(2, DiskType::kDifferencing), random, kMiB);
  const auto chain = chain_of({child, parent}, random);
  const Description& leaf = chain->layers()[0]->description();
  const FlattenedDisk disk(*chain);
  const Description& flat = disk.description();
  EXPECT_EQ(flat.virtual_disk_id, leaf.virtual_disk_id);
  EXPECT_EQ(flat.opaque_items, leaf.opaque_items);
  EXPECT_EQ(flat.geometry.block_bytes, leaf.geometry.block_bytes);
  EXPECT_EQ(flat.geometry.type, DiskType::kDynamic);
  EXPECT_FALSE(flat.parent);
  for (const auto& layer : chain->layers()) {
    EXPECT_NE(flat.data_write_guid, layer->description().data_write_guid);
  }
  EXPECT_EQ(flat.data_write_guid, FlattenedDisk(*chain).description().data_write_guid);
}

}  // namespace
}  // namespace vhdxm::vhdx
