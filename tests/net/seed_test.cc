// --seed-from: a disk that is at the destination gives what it has in common with the one sent.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/posix_file.h"
#include "tests/net/net_test.h"
#include "tests/net/tcp_proxy.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "transfer/frame.h"
#include "vhdx/layer.h"

namespace vhdxm::transfer {
namespace {

using test::data_disk;
using test::expect_same_content;
using test::expect_same_layer;
using test::ModelDisk;
using test::Names;
using test::names_in;
using test::small_geometry;
using test::Untouched;
using test::write_child;
using test::write_data_disk;
using test::write_disk;
using vhdx::ExtentKind;
using vhdx::kMiB;

class Seed : public NetTest {
 protected:
  /// Sends the disk with that seed, and proves that it arrived as it is and the seed is as it was.
  JobReport send_seeded(const std::string& disk, const std::string& seed, std::uint16_t port) {
    const Untouched untouched(target_ / seed);
    SenderOptions options = sender_options(disk, port);
    options.seed_from = seed;
    options.verify = true;
    const auto result = send(options);
    EXPECT_TRUE(succeeded(result));
    if (result.has_error()) return {};
    expect_same_layer(disk, target_ / std::filesystem::path(disk).filename().string());
    EXPECT_EQ(result->totals.bytes_done, result->totals.bytes_total);
    return *result;
  }
};

TEST_F(Seed, OfAnUnchangedDiskAThousandthIsOnTheWire) {
  RunningReceiver receiver(receiver_options());
  write_data_disk(target_, "old.vhdx", 1, 64 * kMiB);
  const std::string disk = write_data_disk(source_, "new.vhdx", 1, 64 * kMiB);
  const test::TcpProxy proxy(receiver.port());
  const JobReport report = send_seeded(disk, "old.vhdx", proxy.port());
  EXPECT_EQ(report.totals.same_bytes, 64 * kMiB);
  EXPECT_LE(report.totals.wire_bytes, 64 * kMiB / 1000);
  // Both directions of all connections, with TLS.
  EXPECT_LE(proxy.recorded().size(), 64 * kMiB / 1000);
}

TEST_F(Seed, OfAnOlderCopyOnlyWhatChangedIsSent) {
  RunningReceiver receiver(receiver_options());
  const auto geometry = small_geometry(24 * kMiB);
  write_disk(target_, "old.vhdx", data_disk(geometry, 16 * kMiB, 1));
  auto segments = data_disk(geometry, 20 * kMiB, 1).segments();
  const std::string disk = write_disk(source_, "new.vhdx", ModelDisk(geometry, segments, 1));
  const JobReport report = send_seeded(disk, "old.vhdx", receiver.port());
  EXPECT_EQ(report.totals.same_bytes, 16 * kMiB);
  EXPECT_LE(report.totals.wire_bytes, 4 * kMiB + report.frames * kFrameHeaderBytes);
}

TEST_F(Seed, BlocksMayBeOfAnotherSizeAndDisksToo) {
  RunningReceiver receiver(receiver_options());
  int number = 0;
  for (const std::uint64_t seed_size : {9 * kMiB + 512, 40 * kMiB}) {
    for (const std::uint32_t block : {1u << 20, 8u << 20}) {
      auto geometry = small_geometry(seed_size);
      geometry.block_bytes = block;
      const std::string seed = fmt::format("seed{}.vhdx", ++number);
      write_disk(target_, seed,
                 ModelDisk(geometry, {{.length = seed_size, .kind = ExtentKind::kData}}, 1));
      auto own = small_geometry(20 * kMiB + 512);
      own.block_bytes = 2u << 20;
      const std::string disk =
          write_disk(source_, fmt::format("disk{}.vhdx", number),
                     ModelDisk(own, {{.length = 20 * kMiB + 512, .kind = ExtentKind::kData}}, 1));
      const JobReport report = send_seeded(disk, seed, receiver.port());
      // The seed's last cell is cut; the disk's last one is where the seed is longer.
      EXPECT_EQ(report.totals.same_bytes,
                std::min(20 * kMiB + 512, seed_size / kCellBytes * kCellBytes))
          << "but for what the larger seed has behind the disk's end";
    }
  }
}

TEST_F(Seed, NeverShowsWhereTheDiskHasZeros) {
  RunningReceiver receiver(receiver_options());
  const auto geometry = small_geometry(8 * kMiB);
  write_disk(target_, "old.vhdx",
             ModelDisk(geometry, {{.length = 8 * kMiB, .kind = ExtentKind::kData}}, 1));
  const std::string disk = write_disk(
      source_, "new.vhdx",
      ModelDisk(
          geometry,
          {{.length = 2 * kMiB, .kind = ExtentKind::kData},
           {.offset = 2 * kMiB, .length = kMiB, .kind = ExtentKind::kZero},
           {.offset = 3 * kMiB, .length = kMiB},
           {.offset = 4 * kMiB, .length = kMiB, .kind = ExtentKind::kData, .zero_bytes = true},
           {.offset = 5 * kMiB, .length = kMiB, .kind = ExtentKind::kData},
           {.offset = 6 * kMiB, .length = 2 * kMiB}},
          1));
  const JobReport report = send_seeded(disk, "old.vhdx", receiver.port());
  EXPECT_EQ(report.totals.same_bytes, 3 * kMiB);
  EXPECT_LE(report.totals.wire_bytes, report.frames * kFrameHeaderBytes);
}

TEST_F(Seed, ADifferencingDiskIsHeldAgainstAnOlderCopyOfTheLayer) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  RunningReceiver receiver(receiver_options());
  const std::string base = write_data_disk(source_, "base.vhdx", 1);
  ASSERT_TRUE(succeeded(send(sender_options(base, receiver.port()))));
  for (int round = 0; round < 5; ++round) {
    SCOPED_TRACE(round);
    vhdx::Geometry geometry = small_geometry(8 * kMiB);
    geometry.type = vhdx::DiskType::kDifferencing;
    const auto model = ModelDisk::random(geometry, random, 6 * kMiB);
    const std::string old = fmt::format("old{}.avhdx", round);
    write_child(target_, old, model, target_ / "base.vhdx");
    const std::string child =
        write_child(source_, fmt::format("child{}.avhdx", round), model, base);
    const JobReport report = send_seeded(child, old, receiver.port());
    EXPECT_LE(report.totals.wire_bytes, report.frames * kFrameHeaderBytes) << "no payload";
  }
}

TEST_F(Seed, AChainGivesWhatAGuestWouldSee) {
  RunningReceiver receiver(receiver_options());
  write_data_disk(target_, "base.vhdx", 1, 6 * kMiB);
  auto geometry = small_geometry(8 * kMiB);
  geometry.type = vhdx::DiskType::kDifferencing;
  write_child(target_, "leaf.avhdx",
              ModelDisk(geometry,
                        {{.length = 2 * kMiB, .kind = ExtentKind::kParent},
                         {.offset = 2 * kMiB, .length = kMiB, .kind = ExtentKind::kData},
                         {.offset = 3 * kMiB, .length = 5 * kMiB, .kind = ExtentKind::kParent}},
                        1),
              target_ / "base.vhdx");
  // A child that has what the base has is the base, to a guest.
  const std::string disk = write_data_disk(source_, "flat.vhdx", 1, 6 * kMiB);
  const JobReport report = send_seeded(disk, "leaf.avhdx", receiver.port());
  EXPECT_EQ(report.totals.same_bytes, 6 * kMiB);
}

TEST_F(Seed, RandomDisksFromRandomSeeds) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  RunningReceiver receiver(receiver_options());
  for (int i = 0; i < 6; ++i) {
    SCOPED_TRACE(i);
    // Both of one pattern: where both have data, it is the same.
    auto geometry = small_geometry((4 + random() % 60) * 256 * 1024);
    const std::uint64_t pattern = random();
    const auto of = [&](vhdx::Geometry one) {
      one.block_bytes = 1u << (20 + random() % 3);
      if (random() % 3 == 0) one.type = vhdx::DiskType::kFixed;
      return ModelDisk(one, ModelDisk::random(one, random, 16 * kMiB).segments(), pattern);
    };
    const std::string name = fmt::format("seed{}.vhdx", i);
    write_disk(target_, name, of(geometry));
    geometry.virtual_size_bytes += (random() % 3) * 256 * 1024;
    const std::string disk = write_disk(source_, fmt::format("disk{}.vhdx", i), of(geometry));
    send_seeded(disk, name, receiver.port());
  }
}

TEST_F(Seed, AndAPartialTogether) {
  RunningReceiver receiver(receiver_options());
  const auto geometry = small_geometry(40 * kMiB);
  write_disk(target_, "old.vhdx",
             ModelDisk(geometry,
                       {{.length = 20 * kMiB},
                        {.offset = 20 * kMiB, .length = 20 * kMiB, .kind = ExtentKind::kData}},
                       1));
  const std::string disk =
      write_disk(source_, "new.vhdx",
                 ModelDisk(geometry, {{.length = 40 * kMiB, .kind = ExtentKind::kData}}, 1));
  using Kind = test::ProxyFault::Kind;
  const test::TcpProxy proxy(receiver.port(), [](std::size_t connection) {
    if (connection == 0) return test::ProxyRule{};
    return test::ProxyRule{
        .up = {.kind = Kind::kCut, .after_bytes = connection == 1 ? 12 * kMiB : 0}};
  });
  SenderOptions options = sender_options(disk, proxy.port());
  options.streams = 1;
  EXPECT_TRUE(failed_as(send(options), FailureClass::kNetwork));
  const JobReport report = send_seeded(disk, "old.vhdx", receiver.port());
  EXPECT_TRUE(report.disks.at(0).resumed);
  EXPECT_EQ(report.totals.same_bytes, 20 * kMiB + report.totals.resumed_bytes);
}

class BadSeed : public Seed {
 protected:
  SendResult send_with(const std::string& seed) {
    RunningReceiver receiver(receiver_options());
    SenderOptions options = sender_options(disk_, receiver.port());
    options.seed_from = seed;
    return send(options);
  }
  const std::string disk_ = write_data_disk(source_, "new.vhdx", 1);
};

TEST_F(BadSeed, IsRefusedByNameAndNothingIsMade) {
  EXPECT_TRUE(failed_as(send_with("none.vhdx"), FailureClass::kIncompatible, "none.vhdx"));
  std::ofstream(target_ / "text.vhdx") << "this is no disk";
  EXPECT_TRUE(failed_as(send_with("text.vhdx"), FailureClass::kIncompatible, "text.vhdx"));
  EXPECT_EQ(names_in(target_), Names{"text.vhdx"});
}

TEST_F(BadSeed, WithOtherSectorsIsRefused) {
  auto geometry = small_geometry(8 * kMiB);
  geometry.logical_sector_bytes = 4096;
  write_disk(target_, "4k.vhdx", data_disk(geometry, 3 * kMiB, 1));
  EXPECT_TRUE(failed_as(send_with("4k.vhdx"), FailureClass::kIncompatible, "sector"));
}

TEST_F(BadSeed, OutsideTheFolderIsRefused) {
  const test::TempFolder other;
  const std::string elsewhere = write_data_disk(other, "else.vhdx", 1);
  std::filesystem::create_symlink(elsewhere, target_ / "link.vhdx");
  EXPECT_TRUE(failed_as(send_with("link.vhdx"), FailureClass::kIncompatible, "link.vhdx"));
  auto geometry = small_geometry(8 * kMiB);
  geometry.type = vhdx::DiskType::kDifferencing;
  write_child(target_, "child.avhdx",
              ModelDisk(geometry, {{.length = 8 * kMiB, .kind = ExtentKind::kParent}}, 1),
              elsewhere);
  EXPECT_TRUE(failed_as(send_with("child.avhdx"), FailureClass::kIncompatible, "outside"));
  EXPECT_TRUE(failed_as(send_with("../else.vhdx"), FailureClass::kUsage));
}

}  // namespace
}  // namespace vhdxm::transfer
