#include "vhdx/image.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/posix_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using test::braced;
using test::failed_with;
using test::succeeded;
using test::VhdxBuilder;
using Bytes = std::vector<std::byte>;
using Locator = std::vector<std::pair<std::string, std::string>>;

constexpr Guid kBase = guid_literal("ba5e0000-0000-0000-0000-000000000001");
constexpr Guid kMiddle = guid_literal("ba5e0000-0000-0000-0000-000000000002");
constexpr Guid kLeaf = guid_literal("ba5e0000-0000-0000-0000-000000000003");

std::unique_ptr<Layer> layer_of(const VhdxBuilder& disk) {
  auto layer = Layer::open(disk.file(), Layer::Replay::kInMemory);
  EXPECT_TRUE(succeeded(layer));
  return std::move(*layer);
}

template <class... Disks>
Result<std::unique_ptr<Image>> chain(const Disks&... disks) {
  std::vector<std::unique_ptr<Layer>> layers;
  (layers.push_back(layer_of(disks)), ...);
  return Image::from_layers(std::move(layers));
}

VhdxBuilder base(std::uint64_t size = 8 * kMiB, std::uint32_t block_bytes = 1 << 20) {
  return VhdxBuilder({.name = "base.vhdx",
                      .virtual_size = size,
                      .block_bytes = block_bytes,
                      .data_write_guid = kBase});
}

VhdxBuilder::Options child_options(const Guid& parent, const Guid& own,
                                   std::uint64_t size = 8 * kMiB) {
  return {
      .name = "child.vhdx",
      .virtual_size = size,
      .data_write_guid = own,
      .locator = Locator{{"parent_linkage", braced(parent)}, {"relative_path", ".\\base.vhdx"}}};
}

Bytes read(Image& image, std::uint64_t offset, std::size_t length) {
  Bytes bytes(length, std::byte{0x55});
  const auto done = image.read(offset, bytes);
  EXPECT_TRUE(succeeded(done));
  return bytes;
}

std::byte byte_at(Image& image, std::uint64_t offset) {
  return read(image, offset, 1)[0];
}

TEST(Image, EveryStateHidesOrShowsTheParent) {
  VhdxBuilder parent = base();
  for (std::uint64_t block = 0; block < 8; ++block) parent.add_block(block, 0xbb);
  VhdxBuilder child(child_options(kBase, kLeaf));
  child.add_block(0, 0xcc);
  for (std::uint64_t state = 0; state < 4; ++state) child.set_block(1 + state, state);
  child.set_block(5, 5);
  child.add_bitmap(0);
  child.add_block(6, 0xcc, 7);
  child.set_bits(6 * 2048 + 1, 6 * 2048 + 2);
  const auto image = chain(child, parent);
  ASSERT_TRUE(succeeded(image));
  EXPECT_EQ(byte_at(**image, 0), std::byte{0xcc});
  EXPECT_EQ(byte_at(**image, 1 * kMiB), std::byte{0xbb});  // NOT_PRESENT
  EXPECT_EQ(byte_at(**image, 2 * kMiB), std::byte{0});     // UNDEFINED
  EXPECT_EQ(byte_at(**image, 3 * kMiB), std::byte{0});     // ZERO
  EXPECT_EQ(byte_at(**image, 4 * kMiB), std::byte{0});     // UNMAPPED
  EXPECT_EQ(byte_at(**image, 5 * kMiB), std::byte{0});     // UNMAPPED of the draft
  EXPECT_EQ(byte_at(**image, 6 * kMiB + 511), std::byte{0xbb});
  EXPECT_EQ(byte_at(**image, 6 * kMiB + 512), std::byte{0xcc});
  EXPECT_EQ(byte_at(**image, 6 * kMiB + 1024), std::byte{0xbb});
  EXPECT_EQ(byte_at(**image, 7 * kMiB), std::byte{0xbb});
}

TEST(Image, ReadsMayBeginAndEndAnywhere) {
  VhdxBuilder disk = base();
  disk.add_block(0, 0xaa);
  disk.add_block(2, 0xbb);
  const auto image = chain(disk);
  ASSERT_TRUE(succeeded(image));
  const Bytes bytes = read(**image, kMiB - 3, kMiB + 6);
  EXPECT_EQ(bytes[2], std::byte{0xaa});
  EXPECT_EQ(bytes[3], std::byte{0});
  EXPECT_EQ(bytes[kMiB + 2], std::byte{0});
  EXPECT_EQ(bytes[kMiB + 3], std::byte{0xbb});
  EXPECT_TRUE(read(**image, 8 * kMiB, 0).empty());
  EXPECT_EQ(read(**image, 8 * kMiB - 1, 1)[0], std::byte{0});
}

TEST(Image, ThreeLayersWithDifferentBlockSizes) {
  VhdxBuilder bottom = base(8 * kMiB, 4 << 20);
  bottom.add_block(0, 1);
  bottom.add_block(1, 1);
  auto options = child_options(kBase, kMiddle);
  options.block_bytes = 2 << 20;
  VhdxBuilder middle(options);
  middle.add_block(1, 2);  // 2-4 MiB
  VhdxBuilder leaf(child_options(kMiddle, kLeaf));
  leaf.add_block(3, 3);  // 3-4 MiB
  const auto image = chain(leaf, middle, bottom);
  ASSERT_TRUE(succeeded(image));
  const std::uint8_t expected[] = {1, 1, 2, 3, 1, 1, 1, 1};
  for (std::uint64_t mib = 0; mib < 8; ++mib) {
    EXPECT_EQ(byte_at(**image, mib * kMiB), static_cast<std::byte>(expected[mib])) << mib;
  }
  std::vector<Extent> extents;
  const auto end = (*image)->map(0, 8 * kMiB, extents);
  ASSERT_TRUE(succeeded(end));
  EXPECT_EQ(*end, 8 * kMiB);
  ASSERT_EQ(extents.size(), 4U);
  EXPECT_EQ(extents[2].length, kMiB);
  EXPECT_EQ(extents[2].file, &(*image)->layers()[0]->file());
  EXPECT_EQ(extents[3].file, &(*image)->layers()[2]->file());
}

TEST(Image, AMapStopsAtItsLimitInEveryLayer) {
  VhdxBuilder parent = base();
  for (std::uint64_t block = 0; block < 8; block += 2) parent.add_block(block, 1);
  VhdxBuilder child(child_options(kBase, kLeaf));
  child.add_bitmap(0);
  child.add_block(0, 2, 7);
  for (std::uint64_t sector = 0; sector < 2048; sector += 2) child.set_bits(sector, sector + 1);
  const auto image = chain(child, parent);
  ASSERT_TRUE(succeeded(image));
  for (const std::size_t extents_max : {1U, 3U, 64U, 65U, 100000U}) {
    std::uint64_t at = 0;
    std::size_t count = 0;
    while (at < 8 * kMiB) {
      std::vector<Extent> extents;
      const auto end = (*image)->map(at, 8 * kMiB - at, extents, extents_max);
      ASSERT_TRUE(succeeded(end));
      ASSERT_LE(extents.size(), extents_max);
      for (const Extent& extent : extents) {
        ASSERT_EQ(extent.virtual_offset, at);
        ASSERT_NE(extent.kind, ExtentKind::kParent);
        at += extent.length;
      }
      ASSERT_EQ(at, *end);
      count += extents.size();
    }
    EXPECT_EQ(count, 2048U + 7);
  }
}

TEST(Image, AChildMayBeLargerOrSmallerThanItsParent) {
  VhdxBuilder parent = base(2 * kMiB + 512);
  for (std::uint64_t block = 0; block < 3; ++block) parent.add_block(block, 0xbb);
  VhdxBuilder larger(child_options(kBase, kLeaf, 5 * kMiB));
  const auto image = chain(larger, parent);
  ASSERT_TRUE(succeeded(image));
  EXPECT_EQ(byte_at(**image, 2 * kMiB + 511), std::byte{0xbb});
  // The parent's last block goes on, its disk does not.
  EXPECT_EQ(byte_at(**image, 2 * kMiB + 512), std::byte{0});
  EXPECT_EQ(byte_at(**image, 5 * kMiB - 1), std::byte{0});

  VhdxBuilder smaller(child_options(kBase, kLeaf, kMiB));
  const auto cut = chain(smaller, parent);
  ASSERT_TRUE(succeeded(cut));
  EXPECT_EQ((*cut)->virtual_size_bytes(), kMiB);
  EXPECT_EQ(byte_at(**cut, kMiB - 1), std::byte{0xbb});
}

TEST(Image, LayersMustBeLinked) {
  VhdxBuilder parent = base();
  VhdxBuilder child(child_options(kMiddle, kLeaf));
  const auto image = chain(child, parent);
  EXPECT_TRUE(failed_with(
      image, Errc::kParentMismatch,
      "child.vhdx (linked to DataWriteGuid ba5e0000-0000-0000-0000-000000000002) and base.vhdx "
      "(DataWriteGuid ba5e0000-0000-0000-0000-000000000001)"));
  EXPECT_TRUE(failed_with(chain(child), Errc::kParentNotFound));
  EXPECT_TRUE(failed_with(chain(parent, parent), Errc::kParentMismatch));
}

TEST(Image, Linkage2CountsUnlessItIsZero) {
  VhdxBuilder parent = base();
  auto options = child_options(kMiddle, kLeaf);
  options.locator->push_back({"parent_linkage2", braced(kBase)});
  EXPECT_TRUE(succeeded(chain(VhdxBuilder(options), parent)));

  // Windows always writes a zero linkage2; a parent whose DataWriteGuid is zero does not match it.
  VhdxBuilder nameless({.name = "base.vhdx", .data_write_guid = Guid{}});
  options.locator->back().second = braced(Guid{});
  EXPECT_TRUE(failed_with(chain(VhdxBuilder(options), nameless), Errc::kParentMismatch));
  options.locator->front().second = braced(Guid{});
  EXPECT_TRUE(failed_with(chain(VhdxBuilder(options), nameless), Errc::kParentMismatch));
}

TEST(Image, SectorSizesOfAChainMustAgree) {
  VhdxBuilder parent = base();
  auto options = child_options(kBase, kLeaf);
  options.logical_sector = 4096;
  EXPECT_TRUE(failed_with(chain(VhdxBuilder(options), parent), Errc::kParentSectorSize,
                          "child.vhdx and its parent base.vhdx"));
}

/// Chains of real files.
class ImageFiles : public testing::Test {
 protected:
  /// Writes what was built to `name` in the test's folder.
  void save(const VhdxBuilder& disk, const std::string& name) {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path).close();
    auto file = PosixFile::open(path, {.access = PosixFile::Access::kReadWrite});
    ASSERT_TRUE(succeeded(file));
    ASSERT_TRUE(succeeded((*file)->resize(disk.size())));
    for (std::uint64_t at = 0; at < disk.size();) {
      const auto run = disk.file()->next_data(at);
      ASSERT_TRUE(succeeded(run));
      if (run->begin == run->end) break;
      const Bytes bytes = disk.get(run->begin, static_cast<std::size_t>(run->end - run->begin));
      ASSERT_TRUE(succeeded((*file)->write_at(run->begin, bytes)));
      at = run->end;
    }
  }

  void save_base(const std::string& name, const Guid& identity = kBase) {
    VhdxBuilder disk({.data_write_guid = identity});
    disk.add_block(0, 0xbb);
    save(disk, name);
  }

  void save_child(const std::string& name, const Guid& parent, const Guid& own, Locator paths) {
    auto options = child_options(parent, own);
    paths.insert(paths.begin(), {"parent_linkage", braced(parent)});
    options.locator = std::move(paths);
    save(VhdxBuilder(options), name);
  }

  /// Expects the chain to open, with the base's content.
  void expect_opens(const std::string& name, std::size_t layers = 2) {
    const auto image = Image::open(folder_ / name);
    ASSERT_TRUE(succeeded(image));
    EXPECT_EQ((*image)->layers().size(), layers);
    EXPECT_EQ(byte_at(**image, 0), std::byte{0xbb});
  }

  test::TempFolder folder_;
};

TEST_F(ImageFiles, AParentBesideTheChild) {
  save_base("base.vhdx");
  save_child("child.vhdx", kBase, kLeaf, {{"relative_path", ".\\base.vhdx"}});
  expect_opens("child.vhdx");
}

TEST_F(ImageFiles, AParentInAnotherFolder) {
  save_base("lib/base.vhdx");
  save_child("vm/child.vhdx", kBase, kLeaf, {{"relative_path", "..\\lib\\base.vhdx"}});
  expect_opens("vm/child.vhdx");
}

TEST_F(ImageFiles, AParentThatWasMovedAlongIsFoundByItsName) {
  save_base("base.vhdx");
  save_child("child.vhdx", kBase, kLeaf,
             {{"relative_path", "..\\elsewhere\\other.vhdx"},
              {"absolute_win32_path", "\\\\?\\D:\\vm\\base.vhdx"}});
  expect_opens("child.vhdx");
}

TEST_F(ImageFiles, AFileOfTheRightNameThatIsNotTheParentIsPassedOver) {
  save_base("lib/base.vhdx", kMiddle);  // somebody else
  save_base("vm/base.vhdx");
  save_child("vm/child.vhdx", kBase, kLeaf, {{"relative_path", "..\\lib\\base.vhdx"}});
  expect_opens("vm/child.vhdx");
}

TEST_F(ImageFiles, AWrongParentIsRefusedNamingBoth) {
  save_base("base.vhdx", kMiddle);
  save_child("child.vhdx", kBase, kLeaf, {{"relative_path", ".\\base.vhdx"}});
  const auto image = Image::open(folder_ / "child.vhdx");
  EXPECT_TRUE(failed_with(image, Errc::kParentMismatch, to_string(kMiddle)));
  EXPECT_TRUE(failed_with(image, Errc::kParentMismatch, to_string(kBase)));
}

TEST_F(ImageFiles, AMissingParentIsRefusedNamingWhereItWasLookedFor) {
  save_child("child.vhdx", kBase, kLeaf,
             {{"relative_path", "..\\lib\\base.vhdx"}, {"absolute_win32_path", "C:\\a\\b.vhdx"}});
  const auto image = Image::open(folder_ / "child.vhdx");
  EXPECT_TRUE(failed_with(image, Errc::kParentNotFound, "relative_path \"..\\lib\\base.vhdx\""));
  EXPECT_TRUE(failed_with(image, Errc::kParentNotFound, folder_ / "b.vhdx"));
}

TEST_F(ImageFiles, ADamagedParentIsRefusedByItsOwnName) {
  save_base("base.vhdx");
  std::filesystem::resize_file(folder_ / "base.vhdx", 100 << 10);
  save_child("child.vhdx", kBase, kLeaf, {{"relative_path", "base.vhdx"}});
  EXPECT_TRUE(
      failed_with(Image::open(folder_ / "child.vhdx"), Errc::kNoValidRegionTable, "base.vhdx"));
}

TEST_F(ImageFiles, ADiskThatNamesItselfIsRefused) {
  save_child("child.vhdx", kLeaf, kLeaf, {{"relative_path", "child.vhdx"}});
  EXPECT_TRUE(failed_with(Image::open(folder_ / "child.vhdx"), Errc::kParentCycle));
}

TEST_F(ImageFiles, ACycleIsRefusedWhateverTheNames) {
  save_child("a.vhdx", kMiddle, kLeaf, {{"relative_path", "b.vhdx"}});
  save_child("b.vhdx", kLeaf, kMiddle, {{"relative_path", "c.vhdx"}});
  std::filesystem::create_symlink("a.vhdx", folder_ / "c.vhdx");
  EXPECT_TRUE(failed_with(Image::open(folder_ / "a.vhdx"), Errc::kParentCycle, "c.vhdx"));
  std::filesystem::remove(folder_ / "c.vhdx");
  std::filesystem::create_hard_link(folder_ / "a.vhdx", folder_ / "c.vhdx");
  EXPECT_TRUE(failed_with(Image::open(folder_ / "a.vhdx"), Errc::kParentCycle, "c.vhdx"));
}

TEST_F(ImageFiles, AParentOfTheChildsOwnNameElsewhereIsNoCycle) {
  save_child("disk.vhdx", kBase, kLeaf, {{"absolute_win32_path", "C:\\base\\disk.vhdx"}});
  EXPECT_TRUE(failed_with(Image::open(folder_ / "disk.vhdx"), Errc::kParentNotFound));
}

TEST_F(ImageFiles, TheDepthOfAChainIsLimited) {
  save_base("0.vhdx");
  Guid parent = kBase;
  for (std::uint8_t i = 1; i <= 4; ++i) {
    Guid own = kLeaf;
    own.bytes[15] = i;
    save_child(std::to_string(i) + ".vhdx", parent, own,
               {{"relative_path", std::to_string(i - 1) + ".vhdx"}});
    parent = own;
  }
  expect_opens("4.vhdx", 5);
  EXPECT_TRUE(succeeded(Image::open(folder_ / "4.vhdx", {.depth_max = 5})));
  EXPECT_TRUE(failed_with(Image::open(folder_ / "4.vhdx", {.depth_max = 4}), Errc::kChainTooDeep,
                          "(found 5, expected 4)"));
}

TEST_F(ImageFiles, ASymbolicLinkToTheParentIsFollowed) {
  save_base("store/0815.vhdx");
  save_child("vm/child.vhdx", kBase, kLeaf, {{"relative_path", "base.vhdx"}});
  std::filesystem::create_symlink("../store/0815.vhdx", folder_ / "vm/base.vhdx");
  expect_opens("vm/child.vhdx");
}

TEST_F(ImageFiles, ADiskOpenedThroughASymbolicLinkFindsItsParentWhereItReallyIs) {
  save_base("store/base.vhdx");
  save_child("store/child.vhdx", kBase, kLeaf, {{"relative_path", "base.vhdx"}});
  std::filesystem::create_symlink("store/child.vhdx", folder_ / "disk.vhdx");
  expect_opens("disk.vhdx");
}

TEST_F(ImageFiles, OnlyRegularFilesAreParents) {
  save_child("child.vhdx", kBase, kLeaf, {{"relative_path", "base.vhdx"}});
  std::filesystem::create_directory(folder_ / "base.vhdx");
  EXPECT_TRUE(failed_with(Image::open(folder_ / "child.vhdx"), Errc::kParentNotFound,
                          "not a regular file"));
  std::filesystem::remove(folder_ / "base.vhdx");
  ASSERT_EQ(::mkfifo((folder_ / "base.vhdx").c_str(), 0600), 0);
  EXPECT_TRUE(failed_with(Image::open(folder_ / "child.vhdx"), Errc::kParentNotFound,
                          "not a regular file"));
  std::filesystem::remove(folder_ / "base.vhdx");
  std::filesystem::create_symlink("base.vhdx", folder_ / "base.vhdx");  // to itself
  EXPECT_TRUE(Image::open(folder_ / "child.vhdx").has_error());
}

TEST_F(ImageFiles, ALeafMayBeOpenedWithoutItsParents) {
  save_child("child.vhdx", kBase, kLeaf, {{"relative_path", "base.vhdx"}});
  const auto image = Image::open(folder_ / "child.vhdx", {.leaf_only = true});
  ASSERT_TRUE(succeeded(image));
  std::vector<Extent> extents;
  ASSERT_TRUE(succeeded((*image)->map(0, 8 * kMiB, extents)));
  ASSERT_EQ(extents.size(), 1U);
  EXPECT_EQ(extents[0].kind, ExtentKind::kParent);
  Bytes byte(1);
  EXPECT_TRUE(failed_with((*image)->read(0, byte), Errc::kParentNotFound, "without it"));
}

TEST_F(ImageFiles, AParentsLogIsReplayedInMemoryOnly) {
  constexpr Guid kLogGuid = guid_literal("10910910-9109-1091-0910-910910910910");
  VhdxBuilder parent({.log_guid = kLogGuid, .data_write_guid = kBase});
  parent.add_block(0, 0xbb);
  const Bytes bat = parent.get(VhdxBuilder::kBatAt, 4096);
  parent.set_block(0, 0);
  parent.add_log_entry(0, {.descriptors = {{.file_offset = VhdxBuilder::kBatAt, .sector = bat}}});
  save(parent, "base.vhdx");
  save_child("child.vhdx", kBase, kLeaf, {{"relative_path", "base.vhdx"}});
  const auto before = std::filesystem::last_write_time(folder_ / "base.vhdx");
  const auto image = Image::open(folder_ / "child.vhdx", {.replay = Layer::Replay::kOnFile});
  ASSERT_TRUE(succeeded(image));
  EXPECT_EQ(byte_at(**image, 0), std::byte{0xbb});
  EXPECT_EQ((*image)->layers()[1]->replayed_entries(), 1U);
  EXPECT_EQ(std::filesystem::last_write_time(folder_ / "base.vhdx"), before);
}

TEST_F(ImageFiles, AFileThatIsNotThereIsNamed) {
  const auto image = Image::open(folder_ / "none.vhdx");
  ASSERT_TRUE(image.has_error());
  EXPECT_NE(describe(image.error()).find("none.vhdx"), std::string::npos);
}

}  // namespace
}  // namespace vhdxm::vhdx
