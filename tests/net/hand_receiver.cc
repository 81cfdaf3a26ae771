#include "tests/net/hand_receiver.h"

#include <gtest/gtest.h>

#include <utility>

namespace vhdxm::transfer {

void HandReceiver::accept_control() {
  control = listener.accept();
  const auto bytes = control.receive_raw_exactly(kPreambleBytes);
  ASSERT_EQ(bytes.size(), kPreambleBytes);
  const auto decoded = decode_preamble(std::span(bytes).first<kPreambleBytes>());
  ASSERT_FALSE(decoded.has_error());
  preamble = *decoded;
  ASSERT_TRUE(control.run_tls(TlsEngine::Role::kServer, key, bytes));
  hello = control.expect<Hello>();
  ledger = Ledger(hello.nonce + welcome.nonce);
}

std::vector<OfferDisk> HandReceiver::take_offer(const std::vector<std::byte>& handover) {
  control.send(welcome);
  for (;;) {
    const auto message = control.receive();
    if (!message) {
      ADD_FAILURE() << "the connection ended in the offer";
      return disks;
    }
    if (const auto* disk = std::get_if<OfferDisk>(&*message)) disks.push_back(*disk);
    if (std::holds_alternative<OfferEnd>(*message)) break;
  }
  control.send(
      OfferReply{.actions = std::vector(disks.size(), OfferAction::kSend), .handover = handover});
  return disks;
}

void HandReceiver::take_plan(std::uint32_t disk) {
  for (;;) {
    const auto message = control.receive();
    ASSERT_TRUE(message.has_value()) << "the connection ended in the plan";
    if (std::holds_alternative<BeginDisk>(*message)) break;
    ASSERT_TRUE(std::holds_alternative<PlanPart>(*message)) << name_of(*message);
  }
  control.send(DiskReady{.disk = disk});
}

HandConnection HandReceiver::take_stream() {
  control.expect<StreamRequest>();
  const StreamGrant grant{.stream = 0, .token = {1, 2, 3}};
  control.send(StreamTokens{.grants = {grant}});
  HandConnection stream = listener.accept();
  const auto bytes = stream.receive_raw_exactly(kPreambleBytes);
  EXPECT_EQ(bytes.size(), kPreambleBytes);
  if (welcome.features == 0) {
    EXPECT_TRUE(stream.run_tls(TlsEngine::Role::kServer, key, bytes));
  }
  const auto join = stream.receive_exactly(encode(Join{}).size());
  const Join expected{
      .preamble = encode(Preamble{.kind = ConnectionKind::kJobData, .job_id = preamble.job_id}),
      .stream = grant.stream,
      .token = grant.token};
  EXPECT_TRUE(join == encode(expected));
  stream.send(JoinReply{.stream = grant.stream});
  return stream;
}

HandConnection HandReceiver::start() {
  accept_control();
  take_offer();
  take_plan(0);
  return take_stream();
}

HandReceiver::Frame HandReceiver::take_frame(HandConnection& stream) {
  const auto bytes = stream.receive_exactly(kFrameHeaderBytes);
  if (bytes.size() < kFrameHeaderBytes) return {.header = {.kind = FrameKind::kEnd}, .payload = {}};
  const auto header = decode_frame_header(std::span(bytes).first<kFrameHeaderBytes>(),
                                          {.extent_bytes_max = welcome.extent_bytes_max,
                                           .disk_count = static_cast<std::uint32_t>(disks.size())});
  if (header.has_error()) {
    ADD_FAILURE() << describe(header.error());
    return {.header = {.kind = FrameKind::kEnd}, .payload = {}};
  }
  if (header->kind != FrameKind::kEnd) ledger.add(*header);
  return {.header = *header, .payload = stream.receive_exactly(header->wire_length)};
}

std::uint64_t HandReceiver::take_disk(HandConnection& stream) {
  std::uint64_t frames = 0;
  std::uint64_t bytes = 0;
  while (bytes < disks.front().description.geometry.virtual_size_bytes) {
    const Frame frame = take_frame(stream);
    if (frame.header.kind == FrameKind::kEnd) break;
    bytes += frame.header.raw_length;
    ++frames;
    control.send(Written{.streams = {{.stream = 0, .frames = frames}},
                         .credit_bytes = frame.payload.size()});
  }
  return frames;
}

RunningSender::RunningSender(const SenderOptions& options, ProgressFunction progress)
    : sender_(std::make_unique<Sender>(options, std::move(progress))),
      result_(std::async(std::launch::async, [this] { return sender_->run(); })) {}

RunningSender::~RunningSender() {
  if (result_.valid()) (void)result_.get().has_error();
}

}  // namespace vhdxm::transfer
