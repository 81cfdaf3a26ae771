// Payload that travels compressed: whole moves, senders that misuse it, and measuring.
#include <filesystem>
#include <fstream>

#include "compression/compressor.h"
#include "tests/net/hand_sender.h"
#include "tests/net/net_test.h"
#include "tests/support/sample_data.h"
#include "transfer/link_measurer.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/disk_writer.h"

namespace vhdxm::transfer {
namespace {

using test::Names;
using test::names_in;
using test::SampleKind;
using vhdx::kMiB;
using Type = ReceiverEvent::Type;

class CompressedMove : public NetTest {
 protected:
  /// A dynamic disk of 16 MiB whose first 8 hold data of these kinds, a MiB each, in turns.
  std::string disk_of(const std::string& name, const std::vector<SampleKind>& kinds) {
    const std::string path = source_ / name;
    std::ofstream(path).close();
    auto file = PosixFile::open(path, {.access = PosixFile::Access::kReadWrite});
    EXPECT_TRUE(file.has_value());
    vhdx::Description description;
    description.geometry = test::small_geometry(16 * kMiB);
    EXPECT_FALSE(vhdx::create(std::shared_ptr<File>(std::move(*file)), description).has_error());
    auto disk = vhdx::DiskWriter::open(path, {});
    EXPECT_TRUE(disk.has_value());
    for (std::uint64_t mib = 0; mib < 8; ++mib) {
      const auto bytes = test::sample_data(kinds[mib % kinds.size()], kMiB, mib);
      EXPECT_FALSE((**disk).write(mib * kMiB, bytes).has_error());
    }
    EXPECT_FALSE((**disk).close().has_error());
    return path;
  }
};

TEST_F(CompressedMove, EveryLevelBringsTheSameDisk) {
  RunningReceiver receiver(receiver_options());
  for (const int level : {-7, -1, 1, 3, 12}) {
    SCOPED_TRACE(level);
    const std::string disk =
        disk_of("level" + std::to_string(level + 7) + ".vhdx",
                {SampleKind::kText, SampleKind::kRandom, SampleKind::kDatabase});
    SenderOptions options = sender_options(disk, receiver.port());
    options.mode = Mode::kCompress;
    options.level = level;
    options.verify = true;
    const auto result = send(options);
    ASSERT_TRUE(succeeded(result));
    EXPECT_EQ(result->compression.level, level);
    // What is random goes as it is, all else is packed.
    EXPECT_EQ(result->compression.packed_bytes, 5 * kMiB);
    EXPECT_GT(result->totals.compressed_bytes, kMiB);
    EXPECT_LT(result->totals.wire_bytes + result->totals.compressed_bytes, 8 * kMiB + 100'000);
    test::expect_same_layer(disk, target_ / std::filesystem::path(disk).filename().string());
  }
}

TEST_F(CompressedMove, PlainNeverCompressesAndIsNotEvenAsked) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = disk_of("plain.vhdx", {SampleKind::kText});
  SenderOptions options = sender_options(disk, receiver.port());
  options.mode = Mode::kPlain;
  const auto result = send(options);
  ASSERT_TRUE(succeeded(result));
  EXPECT_EQ(result->totals.compressed_bytes, 0U);
  EXPECT_EQ(result->compression.packed_bytes, 0U);
  EXPECT_GE(result->totals.wire_bytes, 8 * kMiB);
}

// A link that is slower than anything else: there is nothing to lose by compressing.
TEST_F(CompressedMove, AutoCompressesWhereTheLinkIsSlow) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = disk_of("slow.vhdx", {SampleKind::kText});
  SenderOptions options = sender_options(disk, receiver.port());
  options.limit_bytes_per_second = 4 * kMiB;
  const auto result = send(options);
  ASSERT_TRUE(succeeded(result));
  EXPECT_GT(result->compression.packed_bytes, 0U);
  EXPECT_EQ(result->compression.bottleneck, Bottleneck::kLink);
  test::expect_same_layer(disk, target_ / "slow.vhdx");
}

class PackedSender : public CompressedMove {
 protected:
  PackedSender() : receiver_(receiver_options()) {}

  HandSender new_sender() {
    HandSender sender(receiver_.port(), key_);
    sender.hello_message.features = static_cast<std::uint64_t>(Feature::kZstd);
    return sender;
  }
  static std::vector<std::byte> packed(std::span<const std::byte> raw) {
    compression::Compressor compressor(raw.size(), 1);
    std::vector<std::byte> out(raw.size());
    const auto length = compressor.compress(raw, 1, out);
    EXPECT_TRUE(length.has_value());
    out.resize(length.value_or(0));
    return out;
  }
  static FrameHeader packed_frame(const HandSender& sender, std::span<const std::byte> raw,
                                  std::size_t wire_bytes) {
    FrameHeader frame = sender.data_frame(0, raw);
    frame.codec = compression::Codec::kZstd;
    frame.wire_length = static_cast<std::uint32_t>(wire_bytes);
    return frame;
  }
  void expect_failed(HandSender& sender, Errc errc) {
    EXPECT_EQ(sender.expect_fail().code, static_cast<int>(errc));
    receiver_.wait_for(Type::kJobFailed);
  }

  RunningReceiver receiver_;
  const std::vector<std::byte> raw_ = test::sample_data(SampleKind::kText, kMiB, 1);
};

TEST_F(PackedSender, FramesThatBreakARuleEndTheJob) {
  const auto good = packed(raw_);
  const auto other = packed(test::sample_data(SampleKind::kText, kMiB, 2));
  const auto shorter = packed(std::span(raw_).first(kMiB / 2));
  std::vector<std::byte> broken = good;
  broken[good.size() / 2] ^= std::byte{0x40};
  std::vector<std::byte> trailing = good;
  trailing.push_back(std::byte{0});
  struct Case {
    const char* what;
    std::vector<std::byte> payload;
    Errc errc;
  };
  const Case cases[] = {{"content of another extent", other, Errc::kChecksum},
                        {"less content than raw_length", shorter, Errc::kChecksum},
                        {"a flipped bit", broken, Errc::kChecksum},
                        {"a byte behind the frame", trailing, Errc::kChecksum},
                        {"no zstd frame", payload_of(9, 1000), Errc::kChecksum}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    HandSender sender = new_sender();
    HandConnection stream = sender.start(HandDisk("a.vhdx"));
    stream.send(packed_frame(sender, raw_, one.payload.size()), one.payload);
    expect_failed(sender, one.errc);
    EXPECT_EQ(test::disks_in(target_), Names{});
  }
}

TEST_F(PackedSender, WithoutTheFeatureNothingMayComePacked) {
  HandSender sender(receiver_.port(), key_);
  HandConnection stream = sender.start(HandDisk("a.vhdx"));
  const auto payload = packed(raw_);
  stream.send(packed_frame(sender, raw_, payload.size()), payload);
  expect_failed(sender, Errc::kProtocol);
}

TEST_F(PackedSender, MeasuringKeepsNothing) {
  HandSender sender = new_sender();
  sender.connect();
  sender.hello();
  sender.control.send(Measure{});
  const auto ready = sender.control.expect<MeasureReady>();
  EXPECT_GE(ready.processors, 1U);
  EXPECT_GT(ready.write_bytes_per_second, 0U);
  const auto grants = sender.request_streams(1);
  ASSERT_EQ(grants.size(), 1U);
  HandConnection stream = sender.join(grants[0]);
  const auto payload = packed(raw_);
  for (int i = 0; i < 3; ++i) {  // the same range again and again: nobody keeps an account
    stream.send(packed_frame(sender, raw_, payload.size()), payload);
  }
  sender.wait_written(3);
  sender.control.send(EndJob{});
  sender.control.expect<JobDone>();
  sender.control.close_in_good_order();
  receiver_.wait_for(Type::kMeasured);
  EXPECT_EQ(names_in(target_), Names{});
}

TEST_F(PackedSender, AMeasurementTakesNoRangesNoOfferAndNoDamage) {
  const auto begin = [](HandSender& sender) {
    sender.connect();
    sender.hello();
    sender.control.send(Measure{});
    sender.control.expect<MeasureReady>();
  };
  {
    HandSender sender = new_sender();
    begin(sender);
    sender.control.send(HandDisk("a.vhdx").offer);
    expect_failed(sender, Errc::kProtocol);
  }
  {
    HandSender sender = new_sender();
    begin(sender);
    HandConnection stream = sender.join(sender.request_streams(1).at(0));
    stream.send(HandSender::range_frame(FrameKind::kZero, 0, kMiB));
    expect_failed(sender, Errc::kProtocol);
  }
  {
    HandSender sender = new_sender();
    begin(sender);
    HandConnection stream = sender.join(sender.request_streams(1).at(0));
    FrameHeader frame = sender.data_frame(0, raw_);
    ++frame.hash.low;
    stream.send(frame, raw_);
    expect_failed(sender, Errc::kChecksum);
  }
  HandSender late = new_sender();
  late.connect();
  late.hello();
  late.control.send(HandDisk("a.vhdx").offer);
  late.control.send(Measure{});
  expect_failed(late, Errc::kProtocol);
}

TEST_F(CompressedMove, AMeasurerMeasuresAndAOneShotReceiverGoesOn) {
  ReceiverOptions options = receiver_options();
  options.once = true;
  RunningReceiver receiver(options);
  const std::string disk = disk_of("a.vhdx", {SampleKind::kText});
  const auto sample = test::sample_data(SampleKind::kText, 2 * kMiB, 1);
  LinkMeasurer measurer(sender_options(disk, receiver.port()), sample);
  const auto measured = measurer.run();
  ASSERT_TRUE(measured.has_value()) << measured.error().message;
  EXPECT_GT(measured->plain.raw_bytes, 0);
  EXPECT_GT(measured->plain.seconds, 0);
  EXPECT_GT(measured->plain.sender_cpu_s, 0);
  EXPECT_GT(measured->plain.receiver_cpu_s, 0);
  EXPECT_EQ(measured->plain.packed_bytes, 0);
  EXPECT_GT(measured->packed.packed_bytes, 0);
  EXPECT_LT(measured->packed.wire_bytes, measured->packed.raw_bytes);
  EXPECT_GT(measured->packed.unpack_cpu_s, 0);
  receiver.wait_for(Type::kMeasured);
  EXPECT_EQ(names_in(target_), Names{});
  EXPECT_TRUE(succeeded(send(sender_options(disk, receiver.port()))));
}

TEST_F(CompressedMove, AMeasurerWithAnotherKeyIsTurnedAway) {
  RunningReceiver receiver(receiver_options());
  SenderOptions options = sender_options("unused", receiver.port());
  options.key = PairingKey::generate();
  const auto sample = test::sample_data(SampleKind::kText, kMiB, 1);
  LinkMeasurer measurer(options, sample);
  const auto measured = measurer.run();
  ASSERT_TRUE(measured.has_error());
  EXPECT_EQ(measured.error().failure_class, FailureClass::kAuthentication);
}

}  // namespace
}  // namespace vhdxm::transfer
