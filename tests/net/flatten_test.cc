// Chains that are sent as one disk.

#include <atomic>
#include <filesystem>
#include <fstream>

#include "base/posix_file.h"
#include "tests/net/net_test.h"
#include "vhdx/layer.h"

namespace vhdxm::transfer {
namespace {

using test::data_disk;
using test::disks_in;
using test::expect_same_content;
using test::Names;
using test::names_in;
using test::small_geometry;
using test::Untouched;
using test::write_child;
using test::write_disk;
using vhdx::ExtentKind;
using vhdx::kKiB;
using vhdx::kMiB;

class Flatten : public NetTest {
 protected:
  Flatten() {
    base_ = write_disk(source_, "base.vhdx", data_disk(small_geometry(12 * kMiB), 5 * kMiB, 1));
    middle_ = write_child(source_, "middle.vhdx", child(2, 4 * kMiB), base_);
    leaf_ = write_child(source_, "leaf.vhdx", child(3, 9 * kMiB), middle_);
  }

  /// Some sectors at `at`, a zeroed MiB behind, and the parent elsewhere.
  static test::ModelDisk child(std::uint64_t seed, std::uint64_t at) {
    vhdx::Geometry geometry = small_geometry(12 * kMiB);
    geometry.type = vhdx::DiskType::kDifferencing;
    geometry.block_bytes = 2 << 20;
    return {geometry,
            {{.offset = 0, .length = at + 512, .kind = ExtentKind::kParent},
             {.offset = at + 512, .length = 3 * kKiB, .kind = ExtentKind::kData},
             {.offset = at + 512 + 3 * kKiB,
              .length = kMiB - 512 - 3 * kKiB,
              .kind = ExtentKind::kZero},
             {.offset = at + kMiB, .length = 11 * kMiB - at, .kind = ExtentKind::kParent}},
            seed};
  }

  SenderOptions flatten_options(const std::string& disk, std::uint16_t port) const {
    SenderOptions options = sender_options(disk, port);
    options.flatten = true;
    return options;
  }

  std::string base_;
  std::string middle_;
  std::string leaf_;
};

vhdx::Description description_of(const std::string& path) {
  auto file = PosixFile::open(path, {});
  return vhdx::Layer::open(std::move(file).value(), vhdx::Layer::Replay::kInMemory)
      .value()
      ->description();
}

TEST_F(Flatten, AChainArrivesAsOneDynamicDisk) {
  RunningReceiver receiver(receiver_options());
  const Untouched untouched_leaf(leaf_);
  const Untouched untouched_base(base_);
  for (const std::string& disk : {leaf_, middle_}) {
    SenderOptions options = flatten_options(disk, receiver.port());
    options.verify = true;
    const auto result = send(options);
    ASSERT_TRUE(succeeded(result));
    ASSERT_EQ(result->disks.size(), 1U);
    EXPECT_EQ(result->disks[0].outcome, DiskReport::Outcome::kSent);
    EXPECT_EQ(result->disks[0].source_path, disk);
    const std::string arrived = target_ / std::filesystem::path(disk).filename().string();
    expect_same_content(disk, arrived);
    const vhdx::Description there = description_of(arrived);
    const vhdx::Description here = description_of(disk);
    EXPECT_EQ(there.geometry.type, vhdx::DiskType::kDynamic);
    EXPECT_EQ(there.geometry.block_bytes, here.geometry.block_bytes);
    EXPECT_EQ(there.virtual_disk_id, here.virtual_disk_id);
    EXPECT_NE(there.data_write_guid, here.data_write_guid);
    EXPECT_FALSE(there.parent);
  }
  EXPECT_EQ(names_in(target_), (Names{"leaf.vhdx", "middle.vhdx"}));
}

TEST_F(Flatten, TheSameContentIsNotSentAgain) {
  RunningReceiver receiver(receiver_options());
  SenderOptions options = flatten_options(leaf_, receiver.port());
  options.name = "flat.vhdx";
  ASSERT_TRUE(succeeded(send(options)));
  const Untouched untouched(target_ / "flat.vhdx");
  const auto again = send(options);
  ASSERT_TRUE(succeeded(again));
  EXPECT_EQ(again->disks[0].outcome, DiskReport::Outcome::kIdentical);
  EXPECT_EQ(again->frames, 0U);
  EXPECT_EQ(names_in(target_), Names{"flat.vhdx"});
}

TEST_F(Flatten, OtherContentUnderTheNameIsRefused) {
  RunningReceiver receiver(receiver_options());
  SenderOptions options = flatten_options(middle_, receiver.port());
  options.name = "flat.vhdx";
  ASSERT_TRUE(succeeded(send(options)));
  options.disk_path = leaf_;
  EXPECT_TRUE(failed_as(send(options), FailureClass::kIncompatible, "flat.vhdx"));
}

TEST_F(Flatten, ADiskWithoutParentsIsSentAsItIs) {
  RunningReceiver receiver(receiver_options());
  vhdx::Geometry geometry = small_geometry(6 * kMiB);
  geometry.type = vhdx::DiskType::kFixed;
  const std::string disk = write_disk(source_, "fixed.vhdx", data_disk(geometry, 2 * kMiB, 5));
  ASSERT_TRUE(succeeded(send(flatten_options(disk, receiver.port()))));
  test::expect_same_layer(disk, target_ / "fixed.vhdx");
}

TEST_F(Flatten, AParentThatChangesMeanwhileFailsTheJob) {
  for (const std::string& changed : {base_, middle_, leaf_}) {
    SCOPED_TRACE(changed);
    RunningReceiver receiver(receiver_options());
    std::atomic<bool> touched = false;
    const auto result =
        send(flatten_options(leaf_, receiver.port()), [&](const Progress& progress) {
          if (progress.phase != Phase::kCopying || touched.exchange(true)) return;
          std::fstream file(changed, std::ios::in | std::ios::out | std::ios::binary);
          file.seekp(600);
          file << "x";
        });
    EXPECT_TRUE(failed_as(result, FailureClass::kFailed,
                          std::filesystem::path(changed).filename().string()));
    EXPECT_EQ(disks_in(target_), Names{});
  }
}

}  // namespace
}  // namespace vhdxm::transfer
