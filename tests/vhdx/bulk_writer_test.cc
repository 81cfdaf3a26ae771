// What was brought to a BulkWriter, in any order and by several threads, is what the file shows.
#include "vhdx/bulk_writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>

#include "base/memory_file.h"
#include "tests/support/model_disk.h"
#include "tests/support/random_seed.h"
#include "vhdx/bat.h"
#include "vhdx/layer.h"

namespace vhdxm::vhdx {
namespace {

using test::ModelDisk;
using test::random_seed;
using test::repeat_with;
using test::Segment;

Geometry geometry_of(DiskType type, std::uint32_t block_mib, std::uint32_t sector,
                     std::uint64_t size_bytes) {
  return {.virtual_size_bytes = size_bytes,
          .block_bytes = static_cast<std::uint32_t>(block_mib * kMiB),
          .logical_sector_bytes = sector,
          .physical_sector_bytes = 4096,
          .type = type};
}

std::unique_ptr<BulkWriter> start(const std::shared_ptr<File>& file, const ModelDisk& disk,
                                  const BlockPlan& plan) {
  auto writer = BulkWriter::start(file, disk.description(), plan, {});
  if (writer.has_error()) {
    ADD_FAILURE() << describe(writer.error());
    return nullptr;
  }
  return std::move(*writer);
}

std::unique_ptr<Layer> open(const std::shared_ptr<File>& file) {
  auto layer = Layer::open(file, Layer::Replay::kInMemory);
  if (layer.has_error()) {
    ADD_FAILURE() << describe(layer.error());
    return nullptr;
  }
  return std::move(*layer);
}

void expect_sealed(const std::shared_ptr<File>& file, const ModelDisk& disk) {
  const auto layer = open(file);
  ASSERT_NE(layer, nullptr);
  disk.expect_in(*layer);
  const auto valid = layer->validate_bat();
  EXPECT_FALSE(valid.has_error()) << describe(valid.error());
  const auto size = file->size();
  ASSERT_FALSE(size.has_error());
  EXPECT_EQ(*size % kMiB, 0U);
  EXPECT_TRUE(layer->header().log_guid.is_zero());
  EXPECT_EQ(layer->replayed_entries(), 0U);
}

struct Shape {
  DiskType type;
  std::uint32_t block_mib;
  std::uint32_t sector;
};

class BulkWriterShapes : public testing::TestWithParam<Shape> {
 protected:
  /// Sizes around the boundaries of this shape's blocks and chunks.
  std::vector<std::uint64_t> sizes() const {
    const auto [type, block_mib, sector] = GetParam();
    const std::uint64_t block = block_mib * kMiB;
    const std::uint64_t chunk = kSectorsPerBitmapBlock * sector;
    return {sector,
            block - sector,
            block,
            block + sector,
            3 * block + 7 * std::uint64_t{sector},
            chunk - sector,
            chunk,
            chunk + sector,
            2 * chunk + block - sector};
  }
};

TEST_P(BulkWriterShapes, RandomDisksArriveInRandomOrder) {
  const auto [type, block_mib, sector] = GetParam();
  const auto seed = random_seed();
  SCOPED_TRACE(repeat_with(seed));
  std::mt19937_64 random(seed);
  for (const std::uint64_t size : sizes()) {
    SCOPED_TRACE("size " + std::to_string(size));
    const Geometry geometry = geometry_of(type, block_mib, sector, size);
    const ModelDisk disk = ModelDisk::random(geometry, random, 4 * kMiB);
    const auto file = std::make_shared<MemoryFile>();
    const auto writer = start(file, disk, disk.plan(random));
    ASSERT_NE(writer, nullptr);
    disk.write_to(*writer, random);
    const auto sealed = writer->seal();
    ASSERT_FALSE(sealed.has_error()) << describe(sealed.error());
    expect_sealed(file, disk);
    if (HasFailure()) return;
  }
}

TEST_P(BulkWriterShapes, WhatCameFirstIsReplacedByWhatCameLast) {
  const auto [type, block_mib, sector] = GetParam();
  const auto seed = random_seed();
  SCOPED_TRACE(repeat_with(seed));
  std::mt19937_64 random(seed);
  const Geometry geometry = geometry_of(type, block_mib, sector, 5 * block_mib * kMiB + sector);
  const ModelDisk disk = ModelDisk::random(geometry, random, 4 * kMiB);
  const auto file = std::make_shared<MemoryFile>();
  const auto writer = start(file, disk, disk.plan(random));
  ASSERT_NE(writer, nullptr);
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t sectors = geometry.virtual_size_bytes / sector;
    const std::uint64_t first = random() % sectors;
    const std::uint64_t count = 1 + random() % std::min<std::uint64_t>(100, sectors - first);
    if (writer->plan().use(first * sector / geometry.block_bytes) == BlockUse::kAbsent) continue;
    const std::vector<std::byte> garbage(count * sector, std::byte{0x99});
    if (random() % 2 == 0) {
      (void)writer->write(first * sector, garbage);
    } else {
      (void)writer->mark(random() % 2 == 0 ? ExtentKind::kParent : ExtentKind::kZero,
                         first * sector, count * sector);
    }
  }
  disk.write_to(*writer, random);
  ASSERT_FALSE(writer->seal().has_error());
  expect_sealed(file, disk);
}

TEST_P(BulkWriterShapes, SeveralThreadsBringIt) {
  const auto [type, block_mib, sector] = GetParam();
  const auto seed = random_seed();
  SCOPED_TRACE(repeat_with(seed));
  std::mt19937_64 random(seed);
  const Geometry geometry =
      geometry_of(type, block_mib, sector, 3 * block_mib * kMiB + 5 * std::uint64_t{sector});
  const ModelDisk disk = ModelDisk::random(geometry, random, 8 * kMiB);
  const auto file = std::make_shared<MemoryFile>();
  const auto writer = start(file, disk, disk.plan(random));
  ASSERT_NE(writer, nullptr);
  const auto operations = disk.operations(writer->plan(), random);
  std::atomic<std::size_t> next = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (std::size_t at = next++; at < operations.size(); at = next++) {
        const auto applied = disk.apply(*writer, operations[at]);
        EXPECT_FALSE(applied.has_error()) << describe(applied.error());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_FALSE(writer->seal().has_error());
  expect_sealed(file, disk);
}

TEST_P(BulkWriterShapes, ResumedFileKeepsWhatCame) {
  const auto [type, block_mib, sector] = GetParam();
  const auto seed = random_seed();
  SCOPED_TRACE(repeat_with(seed));
  std::mt19937_64 random(seed);
  const Geometry geometry = geometry_of(type, block_mib, sector, 3 * block_mib * kMiB);
  const ModelDisk disk = ModelDisk::random(geometry, random, 4 * kMiB);
  const BlockPlan plan = disk.plan(random);
  const auto file = std::make_shared<MemoryFile>();
  auto writer = start(file, disk, plan);
  ASSERT_NE(writer, nullptr);
  const auto operations = disk.operations(writer->plan(), random);
  for (std::size_t i = 0; i < operations.size() / 2; ++i) {
    ASSERT_FALSE(disk.apply(*writer, operations[i]).has_error());
  }
  // Even a file that was sealed too early can be gone on with.
  if (random() % 2 == 0) {
    ASSERT_FALSE(writer->seal().has_error());
  }
  auto resumed = BulkWriter::resume(file, disk.description(), plan, {});
  ASSERT_FALSE(resumed.has_error()) << describe(resumed.error());
  EXPECT_TRUE(Layer::open(file, Layer::Replay::kInMemory).has_error());
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const auto& operation = operations[i];
    if (i < operations.size() / 2 && operation.kind == ExtentKind::kData) {
      std::vector<std::byte> found(operation.length);
      std::vector<std::byte> expected(operation.length);
      const auto read = (*resumed)->read_back(operation.offset, found);
      ASSERT_FALSE(read.has_error()) << describe(read.error());
      disk.fill(operation.offset, expected);
      ASSERT_TRUE(found == expected);
      std::vector<bool> present;
      ASSERT_FALSE(
          (*resumed)->read_presence(operation.offset, operation.length, present).has_error());
      ASSERT_EQ(present, std::vector<bool>(operation.length / sector, true));
      continue;
    }
    ASSERT_FALSE(disk.apply(**resumed, operation).has_error());
  }
  ASSERT_FALSE((*resumed)->seal().has_error());
  expect_sealed(file, disk);
}

std::string name_of(const testing::TestParamInfo<Shape>& info) {
  return std::string(to_string(info.param.type)) + "_" + std::to_string(info.param.block_mib) +
         "MiB_" + std::to_string(info.param.sector);
}

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const DiskType type : {DiskType::kFixed, DiskType::kDynamic, DiskType::kDifferencing}) {
    for (const std::uint32_t sector : {512U, 4096U}) {
      for (const std::uint32_t block_mib : {1U, 2U, 32U, 256U}) {
        all.push_back({type, block_mib, sector});
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, BulkWriterShapes, testing::ValuesIn(shapes()), name_of);

TEST(BulkWriter, LargestSparseDisk) {
  const auto seed = random_seed();
  SCOPED_TRACE(repeat_with(seed));
  std::mt19937_64 random(seed);
  const std::uint64_t far = kVirtualSizeMax - kMiB;
  const std::vector<Segment> segments = {
      {.offset = 0, .length = 512, .kind = ExtentKind::kData},
      {.offset = 512, .length = 4 * kGiB - 1024, .kind = ExtentKind::kParent},
      {.offset = 4 * kGiB - 512, .length = 1024, .kind = ExtentKind::kData},
      {.offset = 4 * kGiB + 512, .length = far - 4 * kGiB - 512 - 4096, .kind = ExtentKind::kZero},
      {.offset = far - 4096, .length = 8192, .kind = ExtentKind::kData},
      {.offset = far + 4096, .length = kMiB - 4096 - 512, .kind = ExtentKind::kUnmapped},
      {.offset = kVirtualSizeMax - 512, .length = 512, .kind = ExtentKind::kData}};
  const ModelDisk disk(geometry_of(DiskType::kDifferencing, 1, 512, kVirtualSizeMax), segments,
                       random());
  const auto file = std::make_shared<MemoryFile>();
  const auto writer = start(file, disk, disk.plan(random));
  ASSERT_NE(writer, nullptr);
  for (const Segment& segment : segments) {
    const auto applied = disk.apply(*writer, segment);
    ASSERT_FALSE(applied.has_error()) << describe(applied.error());
  }
  ASSERT_FALSE(writer->seal().has_error());
  const auto layer = open(file);
  ASSERT_NE(layer, nullptr);
  // Not all 2^26 blocks of it: those around every boundary, and some between.
  for (const Segment& segment : segments) {
    for (const std::uint64_t at : {segment.offset, segment.offset + segment.length / 2}) {
      const std::uint64_t middle = at / kMiB * kMiB;
      disk.expect_range_in(*layer, middle - std::min(middle, 8 * kMiB),
                           std::min(middle + 8 * kMiB, kVirtualSizeMax));
    }
  }
}

TEST(BulkWriter, LargestEmptyDiskWritesNoBat) {
  const auto file = std::make_shared<MemoryFile>();
  Description description;
  description.geometry = geometry_of(DiskType::kDynamic, 1, 512, kVirtualSizeMax);
  ASSERT_FALSE(create(file, description).has_error());
  const auto layer = open(file);
  ASSERT_NE(layer, nullptr);
  EXPECT_FALSE(layer->description().virtual_disk_id.is_zero());
  EXPECT_FALSE(layer->description().data_write_guid.is_zero());
  const Region& bat = layer->regions().bat();
  EXPECT_EQ(bat.length, 513 * kMiB);
  const auto run = file->next_data(bat.file_offset);
  ASSERT_FALSE(run.has_error());
  EXPECT_EQ(run->begin, run->end);
  PayloadState last = PayloadState::kFullyPresent;
  ASSERT_FALSE(
      layer->payload_states(description.geometry.block_count() - 1, {&last, 1}).has_error());
  EXPECT_EQ(last, PayloadState::kNotPresent);
}

TEST(BulkWriter, HeadersAreConsecutiveAndAlike) {
  const auto file = std::make_shared<MemoryFile>();
  Description description;
  description.geometry = geometry_of(DiskType::kDynamic, 2, 512, 10 * kMiB);
  description.data_write_guid = Guid::random();
  ASSERT_FALSE(create(file, description).has_error());
  const auto slots = read_header_slots(*file);
  ASSERT_FALSE(slots.has_error());
  Header first = slots->slots[0].header;
  const Header second = slots->slots[1].header;
  EXPECT_EQ(slots->slots[0].state, HeaderSlot::State::kValid);
  EXPECT_EQ(slots->slots[1].state, HeaderSlot::State::kValid);
  EXPECT_EQ(second.sequence_number, first.sequence_number + 1);
  first.sequence_number = second.sequence_number;
  EXPECT_EQ(first, second);
  EXPECT_EQ(second.data_write_guid, description.data_write_guid);
  EXPECT_FALSE(second.file_write_guid.is_zero());
  EXPECT_TRUE(second.log_guid.is_zero());
  EXPECT_EQ(second.log_offset, kMiB);
  EXPECT_EQ(second.log_length, kMiB);
}

TEST(BulkWriter, FixedDiskIsAllocated) {
  const auto file = std::make_shared<MemoryFile>();
  Description description;
  description.geometry = geometry_of(DiskType::kFixed, 2, 4096, 7 * kMiB);
  ASSERT_FALSE(create(file, description).has_error());
  const auto layer = open(file);
  ASSERT_NE(layer, nullptr);
  EXPECT_EQ(layer->geometry().type, DiskType::kFixed);
  std::array<PayloadState, 4> states{};
  ASSERT_FALSE(layer->payload_states(0, states).has_error());
  for (const PayloadState state : states) EXPECT_EQ(state, PayloadState::kFullyPresent);
  EXPECT_EQ(*file->size(), 12 * kMiB);
}

TEST(BulkWriter, PartialBlockWithAllItsSectorsBecomesFull) {
  // The disk ends inside its last block: sectors past the end do not count.
  const Geometry geometry = geometry_of(DiskType::kDifferencing, 1, 512, 2 * kMiB + 1536);
  const ModelDisk disk(
      geometry, {{.offset = 0, .length = geometry.virtual_size_bytes, .kind = ExtentKind::kData}},
      7);
  BlockPlan plan(geometry);
  for (std::uint64_t block = 0; block < 3; ++block) plan.set(block, BlockUse::kPartial);
  const auto file = std::make_shared<MemoryFile>();
  const auto writer = start(file, disk, plan);
  ASSERT_NE(writer, nullptr);
  ASSERT_FALSE(disk.apply(*writer, {.offset = 512, .length = kMiB - 512, .kind = ExtentKind::kData})
                   .has_error());
  ASSERT_FALSE(
      disk.apply(*writer, {.offset = kMiB, .length = kMiB + 1536, .kind = ExtentKind::kData})
          .has_error());
  ASSERT_FALSE(writer->seal().has_error());
  const auto layer = open(file);
  ASSERT_NE(layer, nullptr);
  std::array<PayloadState, 3> states{};
  ASSERT_FALSE(layer->payload_states(0, states).has_error());
  EXPECT_EQ(states[0], PayloadState::kPartiallyPresent);
  EXPECT_EQ(states[1], PayloadState::kFullyPresent);
  EXPECT_EQ(states[2], PayloadState::kFullyPresent);
}

TEST(BulkWriter, UnmappedHidesTheParentAndNeedsNoStateElsewhere) {
  for (const DiskType type : {DiskType::kDynamic, DiskType::kDifferencing}) {
    const Geometry geometry = geometry_of(type, 1, 512, 3 * kMiB);
    const ModelDisk disk(geometry,
                         {{.offset = 0, .length = 3 * kMiB, .kind = ExtentKind::kUnmapped}}, 7);
    const auto file = std::make_shared<MemoryFile>();
    const auto writer = start(file, disk, BlockPlan(geometry));
    ASSERT_NE(writer, nullptr);
    ASSERT_FALSE(writer->mark(ExtentKind::kUnmapped, 0, 2 * kMiB).has_error());
    ASSERT_FALSE(writer->mark(ExtentKind::kZero, 2 * kMiB, kMiB).has_error());
    ASSERT_FALSE(writer->seal().has_error());
    const auto layer = open(file);
    ASSERT_NE(layer, nullptr);
    std::array<PayloadState, 3> states{};
    ASSERT_FALSE(layer->payload_states(0, states).has_error());
    const auto unmapped =
        type == DiskType::kDifferencing ? PayloadState::kUnmapped : PayloadState::kNotPresent;
    EXPECT_EQ(states, (std::array{unmapped, unmapped, PayloadState::kZero}));
  }
}

class BulkWriterRefusals : public testing::Test {
 protected:
  void SetUp() override {
    BlockPlan plan(geometry_);
    plan.set(1, BlockUse::kFull);
    plan.set(2, BlockUse::kPartial);
    writer_ = start(file_, disk_, plan);
    ASSERT_NE(writer_, nullptr);
  }

  Result<void> write(std::uint64_t offset, std::size_t length) {
    return writer_->write(offset, std::vector<std::byte>(length));
  }

  const Geometry geometry_ = geometry_of(DiskType::kDifferencing, 1, 4096, 3 * kMiB + 4096);
  const ModelDisk disk_{
      geometry_, {{.offset = 0, .length = 3 * kMiB + 4096, .kind = ExtentKind::kParent}}, 1};
  const std::shared_ptr<MemoryFile> file_ = std::make_shared<MemoryFile>();
  std::unique_ptr<BulkWriter> writer_;
};

TEST_F(BulkWriterRefusals, WritesThatAreOutOfRange) {
  EXPECT_TRUE(write(0, 4096).has_error());                // absent
  EXPECT_TRUE(write(kMiB - 4096, 8192).has_error());      // absent in part
  EXPECT_TRUE(write(3 * kMiB - 4096, 8192).has_error());  // likewise, at its end
  EXPECT_TRUE(write(kMiB + 512, 4096).has_error());       // no whole sector
  EXPECT_TRUE(write(kMiB, 512).has_error());
  EXPECT_TRUE(write(4 * kMiB, 4096).has_error());  // past the end
  EXPECT_TRUE(write(~std::uint64_t{0} - 4095, 8192).has_error());
  EXPECT_FALSE(write(kMiB, 2 * kMiB).has_error());
  EXPECT_FALSE(write(0, 0).has_error());
  // None of these was the file's fault.
  EXPECT_FALSE(writer_->seal().has_error());
}

TEST_F(BulkWriterRefusals, MarksThatMeanNothing) {
  EXPECT_TRUE(writer_->mark(ExtentKind::kData, kMiB, 4096).has_error());
  EXPECT_TRUE(writer_->mark(static_cast<ExtentKind>(9), kMiB, 4096).has_error());
  EXPECT_TRUE(writer_->mark(ExtentKind::kParent, kMiB, 4096).has_error());  // full block
  EXPECT_TRUE(writer_->mark(ExtentKind::kParent, 0, 3 * kMiB).has_error());
  EXPECT_TRUE(writer_->mark(ExtentKind::kZero, 0, 4096).has_error());  // a part of an absent one
  EXPECT_TRUE(writer_->mark(ExtentKind::kZero, 4096, kMiB).has_error());
  EXPECT_TRUE(writer_->mark(ExtentKind::kZero, 4096, kMiB - 4096).has_error());
  EXPECT_TRUE(writer_->mark(ExtentKind::kZero, 0, 5 * kMiB).has_error());
  EXPECT_TRUE(writer_->mark(ExtentKind::kZero, 0, ~std::uint64_t{4095}).has_error());
  EXPECT_TRUE(writer_->mark(ExtentKind::kZero, 3 * kMiB, 512).has_error());
  // The last block ends with the disk.
  EXPECT_FALSE(writer_->mark(ExtentKind::kZero, 3 * kMiB, 4096).has_error());
  EXPECT_FALSE(writer_->mark(ExtentKind::kZero, 0, 3 * kMiB + 4096).has_error());
  EXPECT_FALSE(writer_->mark(ExtentKind::kParent, 2 * kMiB, kMiB + 4096).has_error());
  EXPECT_FALSE(writer_->mark(ExtentKind::kZero, 3 * kMiB + 4096, 0).has_error());
}

TEST_F(BulkWriterRefusals, TransparencyWithoutParent) {
  const Geometry geometry = geometry_of(DiskType::kDynamic, 1, 512, 3 * kMiB);
  const ModelDisk disk(geometry, {{.offset = 0, .length = 3 * kMiB, .kind = ExtentKind::kZero}}, 1);
  const auto writer = start(std::make_shared<MemoryFile>(), disk, BlockPlan(geometry));
  ASSERT_NE(writer, nullptr);
  EXPECT_TRUE(writer->mark(ExtentKind::kParent, 0, kMiB).has_error());
}

TEST(BulkWriter, RefusesDescriptionsThatMakeNoDisk) {
  const auto refused = [](auto change) {
    const Geometry geometry = geometry_of(DiskType::kDynamic, 1, 512, kMiB);
    Description description{.geometry = geometry,
                            .virtual_disk_id = Guid::random(),
                            .data_write_guid = Guid::random(),
                            .parent = std::nullopt,
                            .opaque_items = {}};
    BlockPlan plan(geometry);
    change(description, plan);
    const auto file = std::make_shared<MemoryFile>("arriving.vhdx");
    const auto writer = BulkWriter::start(file, description, plan, {});
    if (!writer.has_error()) return false;
    EXPECT_EQ(*file->size(), 0U);
    EXPECT_NE(describe(writer.error()).find("arriving.vhdx"), std::string::npos)
        << describe(writer.error());
    return true;
  };
  EXPECT_FALSE(refused([](Description&, BlockPlan&) {}));
  EXPECT_TRUE(refused([](Description& d, BlockPlan&) { d.geometry.block_bytes = 3 << 20; }));
  EXPECT_TRUE(
      refused([](Description& d, BlockPlan&) { d.geometry.virtual_size_bytes = 2 * kMiB; }));
  EXPECT_TRUE(refused([](Description& d, BlockPlan& plan) {
    d.geometry.type = DiskType::kDifferencing;  // no locator
    plan = BlockPlan(d.geometry);
  }));
  EXPECT_TRUE(refused([](Description& d, BlockPlan&) {
    d.parent = ParentLocator{{{"parent_linkage", "x"}}};
  }));
  const auto with_item = [](Guid id, std::uint32_t flags, std::size_t length) {
    return [=](Description& d, BlockPlan&) {
      d.opaque_items.push_back(
          {.item_id = id, .flags = flags, .content = std::vector<std::byte>(length)});
    };
  };
  EXPECT_FALSE(refused(with_item(Guid::random(), kMetadataIsUser, kMiB)));
  EXPECT_FALSE(refused(with_item(kVirtualDiskIdItem, kMetadataIsUser, 3)));
  EXPECT_TRUE(refused(with_item(Guid::random(), kMetadataIsUser, kMiB + 1)));
  EXPECT_TRUE(refused(with_item(Guid::random(), kMetadataIsRequired, 1)));
  EXPECT_TRUE(refused(with_item(Guid::random(), 8, 1)));
  EXPECT_TRUE(refused(with_item(kVirtualDiskIdItem, 0, 16)));
  EXPECT_TRUE(refused([](Description& d, BlockPlan&) {
    const OpaqueItem item{.item_id = Guid::random(), .flags = 0, .content = {}};
    d.opaque_items = {item, item};
  }));
  EXPECT_TRUE(refused([](Description& d, BlockPlan&) {
    for (int i = 0; i < 1025; ++i) {
      d.opaque_items.push_back(
          {.item_id = Guid::random(), .flags = kMetadataIsUser, .content = {}});
    }
  }));
}

TEST(BulkWriter, RefusesAFileThatIsNotEmpty) {
  const auto file = std::make_shared<MemoryFile>();
  ASSERT_FALSE(file->resize(1).has_error());
  Description description;
  description.geometry = geometry_of(DiskType::kDynamic, 1, 512, kMiB);
  EXPECT_TRUE(create(file, description).has_error());
}

TEST(BulkWriter, RefusesToResumeAFileOfAnotherLength) {
  const auto file = std::make_shared<MemoryFile>();
  Description description;
  description.geometry = geometry_of(DiskType::kDynamic, 1, 512, kMiB);
  ASSERT_FALSE(create(file, description).has_error());
  ASSERT_FALSE(file->resize(*file->size() + kMiB).has_error());
  EXPECT_TRUE(
      BulkWriter::resume(file, description, BlockPlan(description.geometry), {}).has_error());
}

TEST(BulkWriter, UntilItIsSealedNobodyTakesTheFileForAVhdx) {
  const Geometry geometry = geometry_of(DiskType::kDynamic, 1, 512, kMiB);
  const ModelDisk disk(geometry, {{.offset = 0, .length = kMiB, .kind = ExtentKind::kData}}, 1);
  BlockPlan plan(geometry);
  plan.set(0, BlockUse::kFull);
  const auto file = std::make_shared<MemoryFile>();
  const auto writer = start(file, disk, plan);
  ASSERT_NE(writer, nullptr);
  EXPECT_TRUE(Layer::open(file, Layer::Replay::kInMemory).has_error());
  ASSERT_FALSE(disk.apply(*writer, disk.segments()[0]).has_error());
  ASSERT_FALSE(writer->sync().has_error());
  EXPECT_TRUE(Layer::open(file, Layer::Replay::kInMemory).has_error());
  ASSERT_FALSE(writer->seal().has_error());
  EXPECT_FALSE(Layer::open(file, Layer::Replay::kInMemory).has_error());
}

}  // namespace
}  // namespace vhdxm::vhdx
