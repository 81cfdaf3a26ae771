// Cells of a seed whose blocks the disk that arrives shares, on a file that can share or says that
// it cannot.

#include <algorithm>
#include <memory>
#include <vector>

#include "base/memory_file.h"
#include "tests/net/disk_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"
#include "transfer/cell_hash.h"
#include "transfer/errc.h"
#include "transfer/seed_disk.h"

namespace vhdxm::transfer {
namespace {

using test::ModelDisk;
using test::small_geometry;
using test::succeeded;
using vhdx::ExtentKind;
using vhdx::kMiB;

/// A file in memory that shares by copying, or does not.
class SharingFile final : public File {
 public:
  enum class Sharing { kPossible, kNotPossible, kWrongBytes, kFails };

  Result<bool> share_from(File& source, std::uint64_t source_offset, std::uint64_t offset,
                          std::uint64_t length) override {
    if (sharing == Sharing::kFails) return Error{.code = BaseErrc::kShortRead, .where = "share"};
    std::vector<std::byte> bytes(length, std::byte{0xEE});
    if (sharing != Sharing::kNotPossible) {
      VHDXM_TRY_VOID(read_exact_at(source, source_offset, bytes, "share"));
    }
    if (sharing == Sharing::kWrongBytes) bytes.back() ^= std::byte{1};
    // What could not be shared holds anything.
    VHDXM_TRY_VOID(file_.write_at(offset, bytes));
    if (sharing == Sharing::kNotPossible) return false;
    ++shares;
    return true;
  }
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    written_bytes += bytes.size();
    return file_.write_at(offset, bytes);
  }
  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override {
    return file_.read_some_at(offset, out);
  }
  Result<void> sync() override { return file_.sync(); }
  Result<std::uint64_t> size() override { return file_.size(); }
  Result<void> resize(std::uint64_t size_bytes) override { return file_.resize(size_bytes); }
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) override {
    return file_.allocate(offset, length);
  }
  Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) override {
    return file_.punch_hole(offset, length);
  }
  Result<DataRun> next_data(std::uint64_t offset) override { return file_.next_data(offset); }
  const std::string& name() const override { return file_.name(); }

  Sharing sharing = Sharing::kPossible;
  int shares = 0;
  std::uint64_t written_bytes = 0;

 private:
  MemoryFile file_{"arriving.vhdx"};
};

class SeedSharing : public testing::Test {
 protected:
  static constexpr std::uint64_t kHashSeed = 7;

  /// The disk that arrives, and a seed for it.
  void start(const ModelDisk& disk, const std::string& seed_name) {
    auto writer = vhdx::BulkWriter::start(file_, disk.description(), disk.tight_plan(),
                                          {.preallocate = true});
    ASSERT_TRUE(succeeded(writer));
    writer_ = std::move(*writer);
    const auto folder = Directory::open(folder_.path());
    ASSERT_TRUE(succeeded(folder));
    auto seed = SeedDisk::open(**folder, seed_name, disk.geometry());
    ASSERT_TRUE(succeeded(seed));
    seed_ = std::move(*seed);
    file_->written_bytes = 0;
  }
  Result<void> copy_cell(std::uint64_t offset) {
    VHDXM_TRY(const Hash128 hash, seed_->hash_cell(offset, kCellBytes, kHashSeed, buffer_));
    return seed_->copy_cell(offset, kCellBytes, hash, kHashSeed, buffer_, *writer_);
  }
  void copy_cells(std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t at = begin; at < end; at += kCellBytes) {
      ASSERT_TRUE(succeeded(copy_cell(at)));
    }
  }
  void expect_content(const ModelDisk& disk, std::uint64_t begin, std::uint64_t end) {
    std::vector<std::byte> expected(end - begin);
    std::vector<std::byte> found(end - begin);
    disk.fill(begin, expected);
    ASSERT_TRUE(succeeded(writer_->read_back(begin, found)));
    EXPECT_TRUE(expected == found);
  }

  const ModelDisk disk_ = test::data_disk(small_geometry(8 * kMiB), 3 * kMiB, 1);
  const test::TempFolder folder_;
  const std::shared_ptr<SharingFile> file_ = std::make_shared<SharingFile>();
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kCellBytes);
  std::unique_ptr<vhdx::BulkWriter> writer_;
  std::unique_ptr<SeedDisk> seed_;
};

TEST_F(SeedSharing, ACellIsSharedAndNotWritten) {
  test::write_disk(folder_, "seed.vhdx", disk_);
  ASSERT_NO_FATAL_FAILURE(start(disk_, "seed.vhdx"));
  copy_cells(0, 3 * kMiB);
  EXPECT_EQ(file_->shares, 12);
  EXPECT_EQ(file_->written_bytes, 0U);
  expect_content(disk_, 0, 3 * kMiB);
}

TEST_F(SeedSharing, WhatStandsInTheDiskIsWhatIsVerified) {
  test::write_disk(folder_, "seed.vhdx", disk_);
  ASSERT_NO_FATAL_FAILURE(start(disk_, "seed.vhdx"));
  file_->sharing = SharingFile::Sharing::kWrongBytes;
  const auto copied = copy_cell(kMiB);
  ASSERT_TRUE(copied.has_error());
  EXPECT_EQ(copied.error().code, Errc::kChecksum);
  EXPECT_EQ(copied.error().offset, kMiB);
  EXPECT_EQ(copied.error().subject, folder_ / "seed.vhdx");
}

TEST_F(SeedSharing, WhereItIsNotPossibleTheCellIsWritten) {
  test::write_disk(folder_, "seed.vhdx", disk_);
  ASSERT_NO_FATAL_FAILURE(start(disk_, "seed.vhdx"));
  file_->sharing = SharingFile::Sharing::kNotPossible;
  copy_cells(0, 3 * kMiB);
  EXPECT_EQ(file_->written_bytes, 3 * kMiB);
  expect_content(disk_, 0, 3 * kMiB);
}

TEST_F(SeedSharing, AnErrorOfTheFileStays) {
  test::write_disk(folder_, "seed.vhdx", disk_);
  ASSERT_NO_FATAL_FAILURE(start(disk_, "seed.vhdx"));
  file_->sharing = SharingFile::Sharing::kFails;
  EXPECT_EQ(copy_cell(0).error().subject, "arriving.vhdx");
  file_->sharing = SharingFile::Sharing::kPossible;
  EXPECT_TRUE(copy_cell(0).has_error());
  EXPECT_TRUE(writer_->seal().has_error());
}

TEST_F(SeedSharing, AFixedDiskKeepsRoomOfItsOwn) {
  test::write_disk(folder_, "seed.vhdx", disk_);
  auto geometry = disk_.geometry();
  geometry.type = vhdx::DiskType::kFixed;
  ASSERT_NO_FATAL_FAILURE(start(test::data_disk(geometry, 3 * kMiB, 1), "seed.vhdx"));
  copy_cells(0, 3 * kMiB);
  EXPECT_EQ(file_->shares, 0);
  EXPECT_EQ(file_->written_bytes, 3 * kMiB);
  expect_content(disk_, 0, 3 * kMiB);
}

TEST_F(SeedSharing, ACellOfTwoLayersIsWritten) {
  const std::string base = test::write_disk(folder_, "base.vhdx", disk_);
  auto geometry = disk_.geometry();
  geometry.type = vhdx::DiskType::kDifferencing;
  constexpr std::uint64_t kHalf = kCellBytes / 2;
  const ModelDisk leaf(geometry,
                       {{.length = kHalf, .kind = ExtentKind::kData},
                        {.offset = kHalf, .length = 8 * kMiB - kHalf, .kind = ExtentKind::kParent}},
                       1);
  test::write_child(folder_, "leaf.avhdx", leaf, base);
  ASSERT_NO_FATAL_FAILURE(start(disk_, "leaf.avhdx"));
  copy_cells(0, 3 * kMiB);
  EXPECT_EQ(file_->shares, 11);
  EXPECT_EQ(file_->written_bytes, kCellBytes);
  expect_content(disk_, 0, 3 * kMiB);
}

TEST_F(SeedSharing, OfALayerOnlyWhatIsPresentAllThrough) {
  const std::string base = test::write_disk(folder_, "base.vhdx", disk_);
  auto geometry = disk_.geometry();
  geometry.type = vhdx::DiskType::kDifferencing;
  const std::uint64_t data = kCellBytes + 512;
  const ModelDisk layer(geometry,
                        {{.length = data, .kind = ExtentKind::kData},
                         {.offset = data, .length = 8 * kMiB - data, .kind = ExtentKind::kParent}},
                        1);
  test::write_child(folder_, "old.avhdx", layer, base);
  ASSERT_NO_FATAL_FAILURE(start(layer, "old.avhdx"));
  copy_cells(0, 2 * kCellBytes);
  EXPECT_EQ(file_->shares, 1);
  expect_content(layer, 0, data);
  std::vector<bool> present;
  ASSERT_TRUE(succeeded(writer_->read_presence(0, 2 * kCellBytes, present)));
  EXPECT_EQ(static_cast<std::uint64_t>(std::count(present.begin(), present.end(), true)),
            data / 512);
  EXPECT_TRUE(present.at(kCellBytes / 512));
}

}  // namespace
}  // namespace vhdxm::transfer
