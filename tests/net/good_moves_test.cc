// Moves that must succeed, over every shape of disk and every option.

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/random.h"
#include "tests/net/net_test.h"
#include "tests/net/tcp_proxy.h"
#include "tests/support/random_seed.h"
#include "transfer/frame.h"

namespace vhdxm::transfer {
namespace {

using test::data_disk;
using test::expect_same_layer;
using test::Names;
using test::names_in;
using test::small_geometry;
using test::Untouched;
using test::write_data_disk;
using test::write_disk;
using vhdx::kMiB;

class GoodMoves : public NetTest {
 protected:
  // Moves the disk, and proves that it arrived.
  JobReport move(const std::string& disk, SenderOptions options) {
    const Untouched untouched(disk);
    auto result = send(options);
    EXPECT_TRUE(succeeded(result));
    if (result.has_error()) return {};
    const std::string name = std::filesystem::path(disk).filename().string();
    EXPECT_EQ(result->disks.back().name, name);
    expect_same_layer(disk, target_ / name);
    return std::move(*result);
  }
};

TEST_F(GoodMoves, DiskIsVerifiedAndReported) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  SenderOptions options = sender_options(disk, receiver.port());
  options.verify = true;
  const JobReport report = move(disk, options);
  ASSERT_EQ(report.disks.size(), 1u);
  EXPECT_TRUE(report.disks[0].verified);
  EXPECT_EQ(report.disks[0].outcome, DiskReport::Outcome::kSent);
  EXPECT_EQ(report.disks[0].virtual_bytes, 8 * kMiB);
  EXPECT_EQ(report.disks[0].payload_bytes, 3 * kMiB);
  EXPECT_EQ(report.streams_replaced, 0u);
  EXPECT_EQ(report.cipher, "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(report.totals.phase, Phase::kDone);
  EXPECT_EQ(report.totals.bytes_done, report.totals.bytes_total);
  EXPECT_EQ(report.totals.written_bytes, 3 * kMiB);
  EXPECT_EQ(report.totals.wire_bytes, 3 * kMiB + report.frames * kFrameHeaderBytes);
  EXPECT_EQ(names_in(target_), Names{"a.vhdx"});
}

TEST_F(GoodMoves, EveryNumberOfStreams) {
  ReceiverOptions options = receiver_options();
  options.memory_bytes = 1 << 30;
  RunningReceiver receiver(options);
  for (unsigned streams = 1; streams <= 17; ++streams) {
    SCOPED_TRACE(streams);
    const std::string name = std::to_string(streams) + ".vhdx";
    const std::string disk = write_data_disk(source_, name, streams, 6 * kMiB + 512 * streams);
    SenderOptions sender = sender_options(disk, receiver.port());
    sender.streams = streams;
    sender.memory_bytes = 1 << 30;
    sender.extent_bytes = 256 << 10;
    move(disk, sender);
  }
}

TEST_F(GoodMoves, EveryKindOfDisk) {
  RunningReceiver receiver(receiver_options());
  struct Case {
    const char* name;
    vhdx::Geometry geometry;
    std::uint64_t data_bytes;
  };
  const auto with = [](vhdx::Geometry geometry, auto change) {
    change(geometry);
    return geometry;
  };
  const std::vector<Case> cases = {
      {"4k.vhdx",
       with(small_geometry(9 * kMiB), [](auto& geometry) { geometry.logical_sector_bytes = 4096; }),
       3 * kMiB + 4096},
      {"fixed.vhdx",
       with(small_geometry(6 * kMiB),
            [](auto& geometry) { geometry.type = vhdx::DiskType::kFixed; }),
       2 * kMiB},
      {"odd.vhdx", small_geometry(5 * kMiB + 512), 3 * kMiB + 1536},
      {"tiny.vhdx", small_geometry(kMiB), 0},
      {"large.vhdx",
       with(small_geometry(vhdx::kVirtualSizeMax),
            [](auto& geometry) { geometry.block_bytes = 256u << 20; }),
       kMiB},
      {"big-blocks.vhdx",
       with(small_geometry(100 * kMiB), [](auto& geometry) { geometry.block_bytes = 32u << 20; }),
       5 * kMiB}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    const std::string disk =
        write_disk(source_, one.name, data_disk(one.geometry, one.data_bytes, 5));
    SenderOptions options = sender_options(disk, receiver.port());
    options.verify = true;
    move(disk, options);
  }
}

TEST_F(GoodMoves, RandomDisks) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  RunningReceiver receiver(receiver_options());
  for (int i = 0; i < 8; ++i) {
    const std::string name = std::to_string(i) + ".vhdx";
    vhdx::Geometry geometry = small_geometry((1 + random() % 400) * 256 * 1024);
    geometry.block_bytes = 1u << (20 + random() % 4);
    if (random() % 2 == 0) geometry.logical_sector_bytes = 4096;
    if (random() % 4 == 0) geometry.type = vhdx::DiskType::kFixed;
    const auto model = test::ModelDisk::random(geometry, random, 20 * kMiB);
    const std::string disk = write_disk(source_, name, model, random);
    SenderOptions options = sender_options(disk, receiver.port());
    options.verify = true;
    move(disk, options);
  }
}

TEST_F(GoodMoves, DiskWithoutABlock) {
  RunningReceiver receiver(receiver_options());
  const std::string disk =
      write_disk(source_, "empty.vhdx",
                 test::ModelDisk(small_geometry(64 * kMiB), {{.length = 64 * kMiB}}, 3));
  const JobReport report = move(disk, sender_options(disk, receiver.port()));
  EXPECT_EQ(report.totals.bytes_total, 0u);
}

TEST_F(GoodMoves, DiskOfNoBytes) {
  RunningReceiver receiver(receiver_options());
  const std::string disk =
      write_disk(source_, "nothing.vhdx", test::ModelDisk(small_geometry(0), {}, 3));
  move(disk, sender_options(disk, receiver.port()));
}

TEST_F(GoodMoves, AnotherNameAtTheDestination) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  SenderOptions options = sender_options(disk, receiver.port());
  options.name = "Z\xc3\xbcrich 1.vhdx";
  ASSERT_TRUE(succeeded(send(options)));
  EXPECT_EQ(names_in(target_), Names{options.name});
  expect_same_layer(disk, target_ / options.name);
}

TEST_F(GoodMoves, SecondSendFindsTheSameDisk) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  move(disk, sender_options(disk, receiver.port()));
  const Hash128 arrived = test::file_hash(target_ / "a.vhdx");
  const JobReport again = move(disk, sender_options(disk, receiver.port()));
  EXPECT_EQ(again.disks.at(0).outcome, DiskReport::Outcome::kIdentical);
  EXPECT_EQ(again.totals.wire_bytes, 0u);
  EXPECT_EQ(test::file_hash(target_ / "a.vhdx"), arrived);
  receiver.wait_for(ReceiverEvent::Type::kDiskIdentical);
}

TEST_F(GoodMoves, OnceEndsAfterOneGoodJob) {
  ReceiverOptions options = receiver_options();
  options.once = true;
  RunningReceiver receiver(options);
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  move(disk, sender_options(disk, receiver.port()));
  EXPECT_FALSE(receiver.join().has_value());
}

TEST_F(GoodMoves, ModeIsWhatWasAskedFor) {
  ReceiverOptions options = receiver_options();
  options.file_mode = 0640;
  RunningReceiver receiver(options);
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  move(disk, sender_options(disk, receiver.port()));
  EXPECT_EQ(std::filesystem::status(target_ / "a.vhdx").permissions(),
            std::filesystem::perms{0640});
}

TEST_F(GoodMoves, MemoryBoundsBuffers) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 12 * kMiB);
  SenderOptions options = sender_options(disk, receiver.port());
  options.streams = 16;
  options.memory_bytes = 4 * kMiB;
  const JobReport report = move(disk, options);
  EXPECT_LE(report.peak_buffer_bytes, 4 * kMiB);
}

// The marker is 32 bytes that stand in no other place: seeing it on the wire is seeing the disk.
class Wire : public GoodMoves {
 protected:
  bool marker_passes(bool plaintext_sender, bool plaintext_receiver) {
    ReceiverOptions receiver_side = receiver_options();
    receiver_side.plaintext_data = plaintext_receiver;
    RunningReceiver receiver(receiver_side);
    const test::TcpProxy proxy(receiver.port());
    const auto model = data_disk(small_geometry(8 * kMiB), 3 * kMiB, random_u64());
    std::array<std::byte, 32> marker{};
    model.fill(kMiB + 7777, marker);
    const std::string name = "m" + std::to_string(plaintext_sender + 2 * plaintext_receiver);
    const std::string disk = write_disk(source_, name, model);
    SenderOptions options = sender_options(disk, proxy.port());
    options.plaintext_data = plaintext_sender;
    const JobReport report = move(disk, options);
    EXPECT_EQ(report.plaintext_data, plaintext_sender);
    const auto wire = proxy.recorded();
    EXPECT_GT(wire.size(), 3 * kMiB);
    return std::search(wire.begin(), wire.end(), marker.begin(), marker.end()) != wire.end();
  }
};

TEST_F(Wire, CarriesNothingThatCanBeRead) {
  EXPECT_FALSE(marker_passes(false, false));
}

TEST_F(Wire, IsPlainOnlyIfBothWantItSo) {
  EXPECT_TRUE(marker_passes(true, true));
  EXPECT_FALSE(marker_passes(false, true));
}

TEST_F(Wire, SenderIsNotFollowedIntoPlaintext) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  SenderOptions options = sender_options(disk, receiver.port());
  options.plaintext_data = true;
  EXPECT_TRUE(failed_as(send(options), FailureClass::kAuthentication, "--plaintext-data"));
  EXPECT_EQ(names_in(target_), Names{});
}

}  // namespace
}  // namespace vhdxm::transfer
