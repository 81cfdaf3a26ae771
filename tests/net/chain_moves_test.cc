// Differencing disks: a chain goes over parents first, and resolves where it arrives.
#include <filesystem>
#include <string>
#include <vector>

#include "tests/net/net_test.h"
#include "tests/support/expect_error.h"
#include "vhdx/image.h"

namespace vhdxm::transfer {
namespace {

using test::disks_in;
using test::expect_same_content;
using test::expect_same_layer;
using test::ModelDisk;
using test::Names;
using test::names_in;
using test::Segment;
using test::small_geometry;
using test::Untouched;
using test::write_child;
using test::write_data_disk;
using vhdx::ExtentKind;
using vhdx::kMiB;
using Outcome = DiskReport::Outcome;

vhdx::Geometry child_geometry() {
  vhdx::Geometry geometry = small_geometry(8 * kMiB);
  geometry.type = vhdx::DiskType::kDifferencing;
  return geometry;
}

/// Over a parent with data in its first 3 MiB: hides some of it behind zeros, replaces some.
ModelDisk hiding_child(std::uint64_t seed) {
  return {child_geometry(),
          {{.offset = 0, .length = kMiB, .kind = ExtentKind::kZero},
           {.offset = kMiB, .length = kMiB / 2, .kind = ExtentKind::kParent},
           {.offset = kMiB + kMiB / 2, .length = 1536, .kind = ExtentKind::kData},
           {.offset = kMiB + kMiB / 2 + 1536,
            .length = 3 * kMiB / 2 - 1536,
            .kind = ExtentKind::kParent},
           {.offset = 3 * kMiB, .length = 5 * kMiB, .kind = ExtentKind::kParent}},
          seed};
}

class ChainMoves : public NetTest {
 protected:
  /// The bytes of a disk that is read through its chain.
  static std::vector<std::byte> bytes_of(const std::string& path, std::uint64_t offset,
                                         std::size_t count) {
    auto image = vhdx::Image::open(path);
    EXPECT_TRUE(test::succeeded(image));
    std::vector<std::byte> bytes(count, std::byte{0xee});
    EXPECT_TRUE(test::succeeded((*image)->read(offset, bytes)));
    return bytes;
  }

  RunningReceiver receiver_{receiver_options()};
  const std::string base_ = write_data_disk(source_, "base.vhdx", 1);
};

TEST_F(ChainMoves, ParentsGoFirstAndResolveThere) {
  const std::string middle = write_child(source_, "middle.avhdx", hiding_child(2), base_);
  const std::string leaf = write_child(source_, "leaf.avhdx", hiding_child(3), middle);
  const Untouched untouched[] = {Untouched(base_), Untouched(middle), Untouched(leaf)};
  SenderOptions options = sender_options(leaf, receiver_.port());
  options.verify = true;
  const SendResult result = send(options);
  ASSERT_TRUE(succeeded(result));
  ASSERT_EQ(result->disks.size(), 3u);
  EXPECT_EQ(result->disks[0].name, "base.vhdx");
  EXPECT_EQ(result->disks[1].name, "middle.avhdx");
  EXPECT_EQ(result->disks[2].name, "leaf.avhdx");
  EXPECT_EQ(names_in(target_), (Names{"base.vhdx", "leaf.avhdx", "middle.avhdx"}));
  for (const std::string name : {"base.vhdx", "middle.avhdx", "leaf.avhdx"}) {
    expect_same_layer(source_ / name, target_ / name);
    expect_same_content(source_ / name, target_ / name);
  }
}

TEST_F(ChainMoves, ZerosInAChildNeverLetTheParentThrough) {
  const std::string child = write_child(source_, "child.avhdx", hiding_child(2), base_);
  ASSERT_TRUE(succeeded(send(sender_options(child, receiver_.port()))));
  const std::vector<std::byte> zeros(kMiB);
  EXPECT_NE(bytes_of(target_ / "base.vhdx", 0, kMiB), zeros) << "the parent has data there";
  EXPECT_EQ(bytes_of(target_ / "child.avhdx", 0, kMiB), zeros);
}

TEST_F(ChainMoves, ParentThatIsThereIsSkipped) {
  ASSERT_TRUE(succeeded(send(sender_options(base_, receiver_.port()))));
  const Untouched parent(target_ / "base.vhdx");
  const std::string child = write_child(source_, "child.avhdx", hiding_child(2), base_);
  const SendResult result = send(sender_options(child, receiver_.port()));
  ASSERT_TRUE(succeeded(result));
  EXPECT_EQ(result->disks.at(0).outcome, Outcome::kIdentical);
  EXPECT_EQ(result->disks.at(1).outcome, Outcome::kSent);
  expect_same_content(child, target_ / "child.avhdx");
}

TEST_F(ChainMoves, ParentOfTheSameIdentityAndOtherContentIsRefused) {
  ASSERT_TRUE(succeeded(send(sender_options(base_, receiver_.port()))));
  const std::string child = write_child(source_, "child.avhdx", hiding_child(2), base_);
  // The same disk by all its names, but a byte of its last megabyte of data.
  {
    const auto file =
        PosixFile::open(target_ / "base.vhdx", {.access = PosixFile::Access::kReadWrite});
    ASSERT_TRUE(test::succeeded(file));
    const std::vector<std::byte> other(512, std::byte{0x99});
    const auto size = (*file)->size();
    ASSERT_TRUE(test::succeeded(size));
    ASSERT_TRUE(test::succeeded((*file)->write_at(*size - kMiB, other)));
  }
  const Untouched parent(target_ / "base.vhdx");
  EXPECT_TRUE(failed_as(send(sender_options(child, receiver_.port())), FailureClass::kIncompatible,
                        "other content"));
  EXPECT_EQ(names_in(target_), Names{"base.vhdx"});
}

TEST_F(ChainMoves, ParentsNameThatAnotherDiskHasIsRefusedWithBothIdentities) {
  const std::string other = write_data_disk(source_, "other.vhdx", 9);
  SenderOptions options = sender_options(other, receiver_.port());
  options.name = "base.vhdx";
  ASSERT_TRUE(succeeded(send(options)));
  const Untouched there(target_ / "base.vhdx");
  const std::string child = write_child(source_, "child.avhdx", hiding_child(2), base_);
  const SendResult result = send(sender_options(child, receiver_.port()));
  ASSERT_TRUE(failed_as(result, FailureClass::kIncompatible, "base.vhdx"));
  for (const std::string& disk : {base_, other}) {
    const auto image = vhdx::Image::open(disk);
    ASSERT_TRUE(test::succeeded(image));
    const std::string id = to_string((*image)->layers().front()->description().virtual_disk_id);
    EXPECT_NE(result.error().message.find(id), std::string::npos) << result.error().message;
  }
  EXPECT_EQ(names_in(target_), Names{"base.vhdx"});
}

TEST_F(ChainMoves, ParentFromAnotherFolderArrivesBesideItsChild) {
  std::filesystem::create_directory(source_ / "parents");
  const std::string far = source_ / "parents/base.vhdx";
  std::filesystem::rename(base_, far);
  const std::string child = write_child(source_, "child.avhdx", hiding_child(2), far);
  SenderOptions options = sender_options(child, receiver_.port());
  options.name = "renamed.avhdx";
  ASSERT_TRUE(succeeded(send(options)));
  EXPECT_EQ(names_in(target_), (Names{"base.vhdx", "renamed.avhdx"}));
  expect_same_content(child, target_ / "renamed.avhdx");
}

// What was committed before a break stays, and is not sent again.
TEST_F(ChainMoves, ParentThatArrivedBeforeTheBreakStays) {
  const std::string child = write_child(source_, "child.avhdx", hiding_child(2), base_);
  std::unique_ptr<Sender> sender;
  sender = std::make_unique<Sender>(
      sender_options(child, receiver_.port()), [&](const Progress& progress) {
        if (progress.disk_index == 1 && progress.phase == Phase::kCopying) sender->cancel();
      });
  EXPECT_TRUE(failed_as(sender->run(), FailureClass::kCancelled));
  receiver_.wait_for(ReceiverEvent::Type::kJobFailed);
  EXPECT_EQ(disks_in(target_), Names{"base.vhdx"});
  const SendResult again = send(sender_options(child, receiver_.port()));
  ASSERT_TRUE(succeeded(again));
  EXPECT_EQ(again->disks.at(0).outcome, Outcome::kIdentical);
  expect_same_content(child, target_ / "child.avhdx");
}

}  // namespace
}  // namespace vhdxm::transfer
