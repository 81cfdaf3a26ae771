#include "tests/net/hand_sender.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kDiskBytes = 4 * vhdx::kMiB;

vhdx::Geometry hand_geometry() {
  return {.virtual_size_bytes = kDiskBytes, .block_bytes = static_cast<std::uint32_t>(vhdx::kMiB)};
}

}  // namespace

HandDisk::HandDisk(const std::string& name) : plan(hand_geometry()) {
  offer.name = name;
  offer.description.geometry = hand_geometry();
  offer.description.virtual_disk_id = Guid::random();
  offer.description.data_write_guid = Guid::random();
  offer.payload_bytes = 8 * vhdx::kMiB;
  plan.set(0, vhdx::BlockUse::kFull);
  plan.set(1, vhdx::BlockUse::kFull);
}

std::vector<std::byte> payload_of(std::uint8_t fill, std::size_t bytes) {
  return std::vector<std::byte>(bytes, std::byte{fill});
}

HandSender::HandSender(std::uint16_t port_number, const PairingKey& pairing_key)
    : key(pairing_key), port(port_number) {
  random_bytes(std::as_writable_bytes(std::span(preamble.job_id)));
  hello_message = {.preamble = encode(preamble),
                   .extent_bytes_max = 1 << 20,
                   .streams_wanted = 4,
                   .nonce = 17,
                   .software = "by hand"};
}

void HandSender::connect() {
  control = HandConnection::connect(port);
  ASSERT_TRUE(control.send_raw(encode(preamble)));
  ASSERT_TRUE(control.run_tls(TlsEngine::Role::kClient, key, encode(preamble)));
}

Welcome HandSender::hello() {
  control.send(hello_message);
  welcome = control.expect<Welcome>();
  ledger = Ledger(hello_message.nonce + welcome.nonce);
  return welcome;
}

void HandSender::offer(const std::vector<OfferDisk>& disks) {
  std::uint32_t index = 0;
  for (OfferDisk disk : disks) {
    disk.disk = index++;
    control.send(disk);
  }
  control.send(OfferEnd{.disk_count = index});
  control.expect<OfferReply>();
}

void HandSender::begin(std::uint32_t disk, const vhdx::BlockPlan& plan) {
  const auto encoded = plan.encoded();
  control.send(PlanPart{.disk = disk, .first_byte = 0, .bytes = {encoded.begin(), encoded.end()}});
  control.send(BeginDisk{.disk = disk});
  control.expect<DiskReady>();
}

std::vector<StreamGrant> HandSender::request_streams(std::uint16_t count) {
  control.send(StreamRequest{.count = count});
  auto grants = control.expect<StreamTokens>().grants;
  EXPECT_EQ(grants.size(), count);
  grants.resize(count);
  return grants;
}

HandConnection HandSender::open_data(const JobId& job_id) {
  const Preamble data{.kind = ConnectionKind::kJobData, .job_id = job_id};
  HandConnection stream = HandConnection::connect(port);
  EXPECT_TRUE(stream.send_raw(encode(data)));
  EXPECT_TRUE(stream.run_tls(TlsEngine::Role::kClient, key, encode(data)));
  return stream;
}

Join HandSender::join_message(const StreamGrant& grant) const {
  const Preamble data{.kind = ConnectionKind::kJobData, .job_id = preamble.job_id};
  return {.preamble = encode(data), .stream = grant.stream, .token = grant.token};
}

HandConnection HandSender::join(const StreamGrant& grant) {
  HandConnection stream = open_data(preamble.job_id);
  stream.send(join_message(grant));
  EXPECT_EQ(stream.expect<JoinReply>().stream, grant.stream);
  return stream;
}

HandConnection HandSender::start(const HandDisk& disk) {
  connect();
  hello();
  offer({disk.offer});
  begin(0, disk.plan);
  return join(request_streams(1).front());
}

FrameHeader HandSender::data_frame(std::uint64_t offset, std::span<const std::byte> payload) const {
  return {.kind = FrameKind::kData,
          .virtual_offset = offset,
          .raw_length = payload.size(),
          .wire_length = static_cast<std::uint32_t>(payload.size()),
          .hash = hash128(payload, hello_message.nonce + welcome.nonce)};
}

FrameHeader HandSender::range_frame(FrameKind kind, std::uint64_t offset, std::uint64_t length) {
  return {.kind = kind, .virtual_offset = offset, .raw_length = length};
}

void HandSender::send(HandConnection& stream, const FrameHeader& frame,
                      std::span<const std::byte> payload) {
  EXPECT_TRUE(stream.send(frame, payload));
  ledger.add(frame);
}

void HandSender::send_all(HandConnection& stream) {
  const auto first = payload_of(1);
  const auto second = payload_of(2);
  send(stream, data_frame(0, first), first);
  send(stream, data_frame(vhdx::kMiB, second), second);
  send(stream, range_frame(FrameKind::kZero, 2 * vhdx::kMiB, vhdx::kMiB));
  send(stream, range_frame(FrameKind::kUnmapped, 3 * vhdx::kMiB, vhdx::kMiB));
}

void HandSender::wait_written(std::uint64_t frames) {
  std::uint64_t written = 0;
  while (written < frames) {
    const auto message = control.receive();
    ASSERT_TRUE(message.has_value()) << "the connection ended";
    const auto* report = std::get_if<Written>(&*message);
    const auto* fail = std::get_if<Fail>(&*message);
    ASSERT_NE(report, nullptr) << name_of(*message) << (fail ? ": " + fail->text : "");
    for (const WrittenCount& count : report->streams) {
      if (count.stream == 0) written = count.frames;
    }
  }
}

EndDisk HandSender::end_of(std::uint32_t disk) const {
  return {.disk = disk,
          .ledger = ledger.sum(),
          .entries = ledger.entries(),
          .raw_bytes = ledger.raw_bytes()};
}

Fail HandSender::expect_fail() {
  while (auto message = control.receive()) {
    if (auto* fail = std::get_if<Fail>(&*message)) {
      control.close();
      return *fail;
    }
  }
  ADD_FAILURE() << "the connection ended without Fail";
  return {};
}

}  // namespace vhdxm::transfer
