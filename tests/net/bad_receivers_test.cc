// Receivers that have the key and do wrong all the same: a real Sender against one driven by hand.
// The sender tells the receiver and its own person what was wrong; its source is not touched.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/net/hand_receiver.h"
#include "tests/net/net_test.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using test::Untouched;
using test::write_data_disk;
using vhdx::kMiB;

constexpr std::uint64_t k2To63 = std::uint64_t{1} << 63;

class BadReceiver : public NetTest {
 protected:
  SenderOptions options(const HandReceiver& receiver) const {
    return sender_options(disk_, receiver.listener.port());
  }

  /// Both sides learn that the sender ended the job, and why.
  void expect_end(HandReceiver& receiver, RunningSender& sender, Errc errc,
                  FailureClass failure_class, std::string_view text = "") {
    bool told = false;
    while (const auto message = receiver.control.receive()) {
      if (const auto* fail = std::get_if<Fail>(&*message)) {
        EXPECT_EQ(fail->code, static_cast<int>(errc)) << fail->text;
        told = true;
        break;
      }
    }
    EXPECT_TRUE(told);
    receiver.control.close();
    const SendResult result = sender.result();
    ASSERT_TRUE(failed_as(result, failure_class, text));
    EXPECT_EQ(result.error().error.code, make_error_code(errc));
  }

  const std::string disk_ = write_data_disk(source_, "a.vhdx", 1);
  const Untouched untouched_{disk_};
};

// The receiver that the others are variations of.
TEST_F(BadReceiver, ByHandAGoodOneIsServed) {
  HandReceiver receiver(key_);
  RunningSender sender(options(receiver));
  HandConnection stream = receiver.start();
  receiver.take_disk(stream);
  EXPECT_TRUE(receiver.control.expect<EndDisk>().ledger == receiver.ledger.sum());
  receiver.control.send(DiskSealed{.disk = 0, .ledger = receiver.ledger.sum()});
  receiver.control.expect<CommitDisk>();
  receiver.control.send(DiskCommitted{.disk = 0});
  receiver.control.expect<EndJob>();
  receiver.control.send(JobDone{});
  EXPECT_EQ(receiver.take_frame(stream).header.kind, FrameKind::kEnd);
  stream.close();
  receiver.control.close();
  EXPECT_TRUE(succeeded(sender.result()));
}

TEST_F(BadReceiver, WelcomesThatPromiseNonsense) {
  const std::pair<const char*, std::function<void(Welcome&)>> cases[] = {
      {"no credit", [](Welcome& one) { one.credit_bytes = 0; }},
      {"no streams", [](Welcome& one) { one.streams_max = 0; }},
      {"extents of 2^31 bytes", [](Welcome& one) { one.extent_bytes_max = 1u << 31; }},
      {"extents off the grid", [](Welcome& one) { one.extent_bytes_max = 300'000; }},
      {"plain text that nobody asked for", [](Welcome& one) { one.features = 1; }}};
  for (const auto& [what, change] : cases) {
    SCOPED_TRACE(what);
    HandReceiver receiver(key_);
    RunningSender sender(options(receiver));
    receiver.accept_control();
    change(receiver.welcome);
    receiver.control.send(receiver.welcome);
    expect_end(receiver, sender, Errc::kProtocol, FailureClass::kFailed, "Welcome");
  }
}

// Generous beyond measure is no crime, and nothing is set aside for it.
TEST_F(BadReceiver, CreditOf2To64IsTakenForWhatItIs) {
  HandReceiver receiver(key_);
  receiver.welcome.credit_bytes = ~0ull;
  RunningSender sender(options(receiver));
  HandConnection stream = receiver.start();
  receiver.control.send(Written{.streams = {}, .credit_bytes = ~0ull});
  receiver.take_disk(stream);
  receiver.control.expect<EndDisk>();
  receiver.control.send(DiskSealed{.disk = 0, .ledger = receiver.ledger.sum()});
  receiver.control.expect<CommitDisk>();
  receiver.control.close();
  EXPECT_TRUE(failed_as(sender.result(), FailureClass::kNetwork));
}

TEST_F(BadReceiver, LedgerThatDoesNotMatch) {
  HandReceiver receiver(key_);
  RunningSender sender(options(receiver));
  HandConnection stream = receiver.start();
  receiver.take_disk(stream);
  receiver.control.expect<EndDisk>();
  Hash128 other = receiver.ledger.sum();
  ++other.low;
  receiver.control.send(DiskSealed{.disk = 0, .ledger = other});
  expect_end(receiver, sender, Errc::kLedgerMismatch, FailureClass::kData);
}

TEST_F(BadReceiver, MessagesOutOfPlace) {
  const std::vector<Message> cases = {
      Written{.streams = {{.stream = 0, .frames = k2To63}}, .credit_bytes = 0},
      Written{.streams = {{.stream = 9, .frames = 0}}, .credit_bytes = 0},
      Durable{.disk = 1, .raw_bytes = 0},
      Durable{.disk = 0, .raw_bytes = k2To63},
      StreamDrained{.stream = 0, .frames = 0},
      StreamTokens{.grants = {{.stream = 1, .token = {}}}},
      StreamTokens{.grants = {}},
      OfferReply{.actions = {OfferAction::kSend}},
      DiskReady{.disk = 0},
      CompareSame{.disk = 0},
      DiskSealed{.disk = 0, .ledger = {}},
      VerifySame{.disk = 0},
      DiskCommitted{.disk = 0},
      JobDone{},
      Welcome{
          .extent_bytes_max = 1 << 20, .streams_max = 1, .credit_bytes = 1 << 20, .software = "x"},
      EndDisk{.disk = 0, .ledger = {}},
      Hello{}};
  for (const Message& message : cases) {
    SCOPED_TRACE(name_of(message));
    HandReceiver receiver(key_);
    receiver.welcome.credit_bytes = 1 << 20;  // so that the disk cannot be through before
    RunningSender sender(options(receiver));
    HandConnection stream = receiver.start();
    receiver.control.send(message);
    expect_end(receiver, sender, Errc::kProtocol, FailureClass::kFailed);
  }
}

TEST_F(BadReceiver, AcknowledgementsThatGoBack) {
  HandReceiver receiver(key_);
  receiver.welcome.credit_bytes = 2 << 20;
  RunningSender sender(options(receiver));
  HandConnection stream = receiver.start();
  receiver.take_frame(stream);
  receiver.control.send(Written{.streams = {{.stream = 0, .frames = 1}}, .credit_bytes = 0});
  receiver.control.send(Written{.streams = {{.stream = 0, .frames = 0}}, .credit_bytes = 0});
  expect_end(receiver, sender, Errc::kProtocol, FailureClass::kFailed, "acknowledged");
}

TEST_F(BadReceiver, MessageOf4GiB) {
  HandReceiver receiver(key_);
  RunningSender sender(options(receiver));
  receiver.accept_control();
  receiver.control.send(std::vector<std::byte>{std::byte{0xff},
                                               std::byte{0xff},
                                               std::byte{0xff},
                                               std::byte{0xff},
                                               std::byte{2},
                                               {},
                                               {},
                                               {}});
  expect_end(receiver, sender, Errc::kTooLarge, FailureClass::kFailed);
}

TEST_F(BadReceiver, WhatItSaysGoesToThePersonAndDecidesTheExit) {
  const std::pair<std::uint16_t, FailureClass> cases[] = {
      {static_cast<std::uint16_t>(Errc::kNoSpace), FailureClass::kIncompatible},
      {static_cast<std::uint16_t>(Errc::kBusy), FailureClass::kNetwork},
      {static_cast<std::uint16_t>(Errc::kDestinationIo), FailureClass::kFailed},
      {static_cast<std::uint16_t>(Errc::kChecksum), FailureClass::kData},
      {0, FailureClass::kFailed},
      {60'000, FailureClass::kFailed}};
  for (const auto& [code, failure_class] : cases) {
    HandReceiver receiver(key_);
    RunningSender sender(options(receiver));
    receiver.accept_control();
    receiver.control.send(Fail{.code = code, .text = "the sky fell"});
    receiver.control.close_in_good_order();
    EXPECT_TRUE(failed_as(sender.result(), failure_class, "the sky fell"));
  }
}

TEST_F(BadReceiver, DiesAfterEveryStep) {
  for (int step = 0; step < 6; ++step) {
    SCOPED_TRACE(step);
    HandReceiver receiver(key_);
    HandConnection stream(-1);
    RunningSender sender(options(receiver));
    receiver.accept_control();
    if (step > 0) receiver.take_offer();
    if (step > 1) receiver.take_plan(0);
    if (step > 2) stream = receiver.take_stream();
    if (step > 3) {
      receiver.take_disk(stream);
      receiver.control.expect<EndDisk>();
    }
    if (step > 4) {
      receiver.control.send(DiskSealed{.disk = 0, .ledger = receiver.ledger.sum()});
      receiver.control.expect<CommitDisk>();  // whether it got its name nobody knows
    }
    receiver.control.close();
    stream.close();
    EXPECT_TRUE(failed_as(sender.result(), FailureClass::kNetwork));
  }
}

TEST_F(BadReceiver, SilenceAfterEveryStep) {
  for (int step = 0; step < 4; ++step) {
    SCOPED_TRACE(step);
    HandReceiver receiver(key_);
    HandConnection stream(-1);
    SenderOptions impatient = options(receiver);
    impatient.timeouts.heartbeat = 100ms;
    impatient.timeouts.silence = 1s;
    RunningSender sender(impatient);
    receiver.accept_control();
    if (step > 0) receiver.take_offer();
    if (step > 1) receiver.take_plan(0);
    if (step > 2) stream = receiver.take_stream();
    EXPECT_TRUE(failed_as(sender.result(), FailureClass::kNetwork, "silent"));
  }
}

// The receiver's connection was dropped and another program has the port now.
TEST_F(BadReceiver, DataStreamThatNobodyAnswers) {
  HandReceiver receiver(key_);
  SenderOptions impatient = options(receiver);
  impatient.timeouts.handshake = 500ms;
  RunningSender sender(impatient);
  receiver.accept_control();
  receiver.take_offer();
  receiver.take_plan(0);
  receiver.control.expect<StreamRequest>();
  receiver.control.send(StreamTokens{.grants = {{.stream = 0, .token = {}}}});
  HandConnection stream = receiver.listener.accept();
  // The sender gives it up by itself, and waits until it is told what became of it.
  EXPECT_EQ(receiver.control.expect<StreamLost>().stream, 0u);
  receiver.control.send(StreamDrained{.stream = 0, .frames = 0});
  EXPECT_EQ(receiver.control.expect<StreamRequest>().count, 1u);
  receiver.control.send(Cancel{});
  receiver.control.close_in_good_order();
  EXPECT_TRUE(failed_as(sender.result(), FailureClass::kCancelled, "stopped"));
}

}  // namespace
}  // namespace vhdxm::transfer
