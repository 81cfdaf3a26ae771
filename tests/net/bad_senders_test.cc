// Senders that have the key and do wrong all the same. The receiver says what was wrong, on the
// wire and to its person; no job of theirs leaves anything behind, and the next one is served.
#include <array>
#include <functional>
#include <string>
#include <vector>

#include "tests/net/hand_sender.h"
#include "tests/net/net_test.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using test::disks_in;
using test::Names;
using test::names_in;
using test::write_data_disk;
using vhdx::kMiB;
using Type = ReceiverEvent::Type;

constexpr std::uint64_t k2To63 = std::uint64_t{1} << 63;

class BadSender : public NetTest {
 protected:
  BadSender() : BadSender(Timeouts{}) {}
  explicit BadSender(Timeouts timeouts)
      : receiver_([&] {
          ReceiverOptions options = receiver_options();
          options.timeouts = timeouts;
          return options;
        }()) {}

  void TearDown() override {
    const std::string disk = write_data_disk(source_, "good.vhdx", 1);
    EXPECT_TRUE(succeeded(send(sender_options(disk, receiver_.port()))));
  }

  HandSender new_sender() { return HandSender(receiver_.port(), key_); }

  /// The job ends like that on both sides, and nothing is left of it.
  void expect_end(HandSender& sender, Errc errc, FailureClass failure_class,
                  std::string_view text = "") {
    const Fail fail = sender.expect_fail();
    EXPECT_EQ(fail.code, static_cast<int>(errc)) << fail.text;
    EXPECT_NE(fail.text.find(text), std::string::npos) << fail.text;
    expect_failed_job(failure_class, text);
  }

  void expect_failed_job(FailureClass failure_class, std::string_view text = "") {
    const ReceiverEvent event = receiver_.wait_for(Type::kJobFailed, ++failed_);
    ASSERT_TRUE(event.failure.has_value());
    EXPECT_TRUE(failed_as(*event.failure, failure_class, text));
    EXPECT_EQ(disks_in(target_), Names{});
  }

  RunningReceiver receiver_;
  std::size_t failed_ = 0;
};

// The sender that the others are variations of.
TEST_F(BadSender, ByHandAGoodOneIsServed) {
  HandSender sender = new_sender();
  HandConnection stream = sender.start(HandDisk("by-hand.vhdx"));
  sender.send_all(stream);
  sender.wait_written(4);
  sender.control.send(sender.end_of(0));
  EXPECT_TRUE(sender.control.expect<DiskSealed>().ledger == sender.ledger.sum());
  EXPECT_EQ(names_in(target_), Names{"by-hand.vhdx.partial"});
  sender.control.send(CommitDisk{.disk = 0});
  sender.control.expect<DiskCommitted>();
  EXPECT_EQ(names_in(target_), Names{"by-hand.vhdx"});
  sender.control.send(EndJob{});
  sender.control.expect<JobDone>();
  stream.send(FrameHeader{.kind = FrameKind::kEnd});
  stream.close_in_good_order();
  sender.control.close_in_good_order();
  receiver_.wait_for(Type::kJobDone);
}

TEST_F(BadSender, Frames) {
  const auto mib = payload_of(7);
  struct Case {
    const char* what;
    std::function<FrameHeader(const HandSender&)> frame;
    std::vector<std::byte> payload;
    Errc errc;
    FailureClass failure_class;
  };
  const auto range = [](FrameKind kind, std::uint64_t offset, std::uint64_t length) {
    return [=](const HandSender&) { return HandSender::range_frame(kind, offset, length); };
  };
  const auto data = [](std::uint64_t offset, std::size_t bytes, auto change) {
    return [=](const HandSender& sender) {
      FrameHeader frame = sender.data_frame(offset, payload_of(7, bytes));
      change(frame);
      return frame;
    };
  };
  const auto as_it_is = [](FrameHeader&) {};
  const Case cases[] = {{"bytes that are not those of the hash",
                         data(0, kMiB, [](FrameHeader& frame) { ++frame.hash.low; }), mib,
                         Errc::kChecksum, FailureClass::kData},
                        {"over an earlier one",
                         range(FrameKind::kZero, 3 * kMiB - 512, kMiB),
                         {},
                         Errc::kProtocol,
                         FailureClass::kFailed},
                        {"beyond the disk",
                         range(FrameKind::kZero, 3 * kMiB, kMiB + 512),
                         {},
                         Errc::kProtocol,
                         FailureClass::kFailed},
                        {"outside the disk", data(4 * kMiB, kMiB, as_it_is), mib, Errc::kProtocol,
                         FailureClass::kFailed},
                        {"2^63 bytes",
                         range(FrameKind::kZero, 0, k2To63),
                         {},
                         Errc::kProtocol,
                         FailureClass::kFailed},
                        {"2^63 bytes and one",
                         range(FrameKind::kZero, 0, k2To63 + 1),
                         {},
                         Errc::kTooLarge,
                         FailureClass::kFailed},
                        {"from 2^63, so that the end wraps",
                         range(FrameKind::kZero, k2To63, k2To63),
                         {},
                         Errc::kProtocol,
                         FailureClass::kFailed},
                        {"an extent of 2^63 bytes",
                         data(0, kMiB, [](FrameHeader& frame) { frame.raw_length = k2To63; }),
                         {},
                         Errc::kTooLarge,
                         FailureClass::kFailed},
                        {"an extent larger than agreed",
                         data(0, 2 * kMiB, as_it_is),
                         {},
                         Errc::kTooLarge,
                         FailureClass::kFailed},
                        {"more payload than the range has",
                         data(0, kMiB, [](FrameHeader& frame) { frame.raw_length = 512; }),
                         {},
                         Errc::kTooLarge,
                         FailureClass::kFailed},
                        {"data where the plan has no block", data(2 * kMiB, kMiB, as_it_is), mib,
                         Errc::kProtocol, FailureClass::kFailed},
                        {"transparent, without a parent",
                         range(FrameKind::kTransparent, 0, kMiB),
                         {},
                         Errc::kProtocol,
                         FailureClass::kFailed},
                        {"half a sector",
                         range(FrameKind::kZero, 256, 256),
                         {},
                         Errc::kProtocol,
                         FailureClass::kFailed},
                        {"of another disk",
                         data(0, kMiB, [](FrameHeader& frame) { frame.disk = 1; }),
                         {},
                         Errc::kProtocol,
                         FailureClass::kFailed}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    HandSender sender = new_sender();
    HandConnection stream = sender.start(HandDisk("a.vhdx"));
    // The third MiB is taken before the fault comes.
    sender.send(stream, HandSender::range_frame(FrameKind::kZero, 2 * kMiB, kMiB));
    sender.wait_written(1);
    stream.send(one.frame(sender), one.payload);
    stream.end_writing();
    expect_end(sender, one.errc, one.failure_class);
  }
}

TEST_F(BadSender, EveryChangedByteOfAFrameHeaderIsFound) {
  for (std::size_t at = 0; at < kFrameHeaderBytes; at += 3) {
    SCOPED_TRACE(at);
    HandSender sender = new_sender();
    HandConnection stream = sender.start(HandDisk("a.vhdx"));
    const auto payload = payload_of(1);
    FrameHeaderBytes bytes = encode(sender.data_frame(0, payload));
    bytes[at] ^= std::byte{0x40};
    stream.send(bytes);
    const Fail fail = sender.expect_fail();
    EXPECT_TRUE(fail.code == static_cast<int>(Errc::kChecksum) ||
                fail.code == static_cast<int>(Errc::kProtocol))
        << fail.text;
    receiver_.wait_for(Type::kJobFailed, ++failed_);
    EXPECT_EQ(names_in(target_), Names{});
  }
}

TEST_F(BadSender, LedgerThatDoesNotMatch) {
  const std::array<std::function<void(EndDisk&)>, 3> changes = {
      [](EndDisk& end) { ++end.ledger.high; }, [](EndDisk& end) { ++end.entries; },
      [](EndDisk& end) { end.raw_bytes = k2To63; }};
  for (const auto& change : changes) {
    HandSender sender = new_sender();
    HandConnection stream = sender.start(HandDisk("a.vhdx"));
    sender.send_all(stream);
    sender.wait_written(4);
    EndDisk end = sender.end_of(0);
    change(end);
    sender.control.send(end);
    expect_end(sender, Errc::kLedgerMismatch, FailureClass::kData, "ledger");
  }
}

TEST_F(BadSender, DiskThatIsNotAllThere) {
  HandSender sender = new_sender();
  HandConnection stream = sender.start(HandDisk("a.vhdx"));
  const auto payload = payload_of(1);
  sender.send(stream, sender.data_frame(0, payload), payload);
  sender.wait_written(1);
  sender.control.send(sender.end_of(0));
  expect_end(sender, Errc::kLedgerMismatch, FailureClass::kData, "never came");
}

TEST_F(BadSender, Offers) {
  struct Case {
    const char* what;
    std::function<void(OfferDisk&)> change;
    Errc errc;
    FailureClass failure_class;
  };
  const auto geometry = [](auto change) {
    return [=](OfferDisk& offer) { change(offer.description.geometry); };
  };
  const Case cases[] = {
      {"a disk of 2^63 bytes", geometry([](auto& one) { one.virtual_size_bytes = k2To63; }),
       Errc::kProtocol, FailureClass::kFailed},
      {"blocks of 2^31 bytes", geometry([](auto& one) { one.block_bytes = 1u << 31; }),
       Errc::kProtocol, FailureClass::kFailed},
      {"payload of 2^64-1 bytes", [](OfferDisk& offer) { offer.payload_bytes = ~0ull; },
       Errc::kNoSpace, FailureClass::kIncompatible},
      {"a name that leads elsewhere", [](OfferDisk& offer) { offer.name = "../a.vhdx"; },
       Errc::kProtocol, FailureClass::kFailed},
      {"an absolute name", [](OfferDisk& offer) { offer.name = "/tmp/a.vhdx"; }, Errc::kProtocol,
       FailureClass::kFailed},
      {"a name that is the folder", [](OfferDisk& offer) { offer.name = "."; }, Errc::kProtocol,
       FailureClass::kFailed},
      {"a folder that is not there", [](OfferDisk& offer) { offer.folder = "fast"; },
       Errc::kIncompatible, FailureClass::kIncompatible}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    HandSender sender = new_sender();
    sender.connect();
    sender.hello();
    OfferDisk offer = HandDisk("a.vhdx").offer;
    one.change(offer);
    sender.control.send(offer);
    sender.control.send(OfferEnd{.disk_count = 1});
    expect_end(sender, one.errc, one.failure_class);
  }
}

TEST_F(BadSender, MessagesOutOfPlace) {
  using Step = std::function<void(HandSender&)>;
  const Step at_hello = [](HandSender& sender) { sender.connect(); };
  const Step at_offer = [](HandSender& sender) {
    sender.connect();
    sender.hello();
  };
  const Step at_plan = [](HandSender& sender) {
    sender.connect();
    sender.hello();
    sender.offer({HandDisk("a.vhdx").offer});
  };
  const Step at_copy = [&at_plan](HandSender& sender) {
    at_plan(sender);
    sender.begin(0, HandDisk("a.vhdx").plan);
  };
  const std::pair<Step, Message> cases[] = {
      {at_hello, OfferEnd{.disk_count = 1}},
      {at_hello, Welcome{.extent_bytes_max = 1 << 20, .streams_max = 1, .software = "x"}},
      {at_offer, Hello{}},
      {at_offer, OfferEnd{.disk_count = 0xffffffff}},
      {at_offer, BeginDisk{}},
      {at_plan, StreamRequest{.count = 1}},
      {at_plan, CompareDigest{}},
      {at_plan, BeginDisk{}},
      {at_plan, PlanPart{.first_byte = k2To63, .bytes = {std::byte{5}}}},
      {at_plan, PlanPart{.bytes = std::vector<std::byte>(1000)}},
      {at_plan, PlanPart{.bytes = {std::byte{0xff}}}},
      {at_plan, EndJob{}},
      {at_copy, CommitDisk{}},
      {at_copy, VerifyDisk{}},
      {at_copy, EndDisk{.disk = 7, .ledger = {}}},
      {at_copy, StreamLost{.stream = 0xffffffff}},
      {at_copy, StreamRequest{.count = 0}},
      {at_copy, DiskSealed{}},
      {at_copy, Written{.streams = {}, .credit_bytes = k2To63}},
      {at_copy, JobDone{}},
      {at_copy, EndJob{}}};
  for (const auto& [step, message] : cases) {
    SCOPED_TRACE(name_of(message));
    HandSender sender = new_sender();
    step(sender);
    sender.control.send(message);
    expect_end(sender, Errc::kProtocol, FailureClass::kFailed);
  }
}

TEST_F(BadSender, LengthsThatNobodyAgreedOn) {
  HandSender early = new_sender();
  early.connect();
  early.control.send(std::vector<std::byte>{std::byte{0xff},
                                            std::byte{0xff},
                                            std::byte{0xff},
                                            std::byte{0xff},
                                            std::byte{1},
                                            {},
                                            {},
                                            {}});
  expect_end(early, Errc::kTooLarge, FailureClass::kFailed);

  HandSender late = new_sender();
  late.connect();
  late.hello();
  late.control.send(std::vector<std::byte>{{}, {}, {}, std::byte{0x80}, std::byte{3}, {}, {}, {}});
  expect_end(late, Errc::kTooLarge, FailureClass::kFailed);

  HandSender many = new_sender();
  many.connect();
  many.hello();
  many.offer({HandDisk("a.vhdx").offer});
  many.begin(0, HandDisk("a.vhdx").plan);
  many.control.send(StreamRequest{.count = 0xffff});
  expect_end(many, Errc::kTooLarge, FailureClass::kFailed);
}

TEST_F(BadSender, JoinTokenIsGoodOnce) {
  HandSender sender = new_sender();
  sender.connect();
  sender.hello();
  sender.offer({HandDisk("a.vhdx").offer});
  sender.begin(0, HandDisk("a.vhdx").plan);
  const StreamGrant grant = sender.request_streams(1).front();
  HandConnection stream = sender.join(grant);

  Join other_token = sender.join_message(grant);
  other_token.token[3] ^= 1;
  Join other_stream = sender.join_message(grant);
  other_stream.stream = 1;
  Join other_preamble = sender.join_message(grant);
  other_preamble.preamble[20] ^= std::byte{1};
  const Join replayed = sender.join_message(grant);
  std::size_t refused = 0;
  for (const Join& join : {replayed, other_token, other_stream, other_preamble}) {
    HandConnection second = sender.open_data(sender.preamble.job_id);
    second.send(join);
    EXPECT_FALSE(second.receive().has_value());
    const ReceiverEvent event = receiver_.wait_for(Type::kPeerRefused, ++refused);
    ASSERT_TRUE(event.failure.has_value());
    EXPECT_TRUE(failed_as(*event.failure, FailureClass::kAuthentication, "Join"));
  }

  // The job itself goes on, over the stream that joined.
  sender.send_all(stream);
  sender.wait_written(4);
  sender.control.send(sender.end_of(0));
  sender.control.expect<DiskSealed>();
  sender.control.send(Cancel{});
  sender.control.close_in_good_order();
  expect_failed_job(FailureClass::kCancelled);
}

TEST_F(BadSender, TokenOfAStreamThatWasGivenUpIsVoid) {
  HandSender sender = new_sender();
  sender.connect();
  sender.hello();
  sender.offer({HandDisk("a.vhdx").offer});
  sender.begin(0, HandDisk("a.vhdx").plan);
  const StreamGrant grant = sender.request_streams(1).front();
  sender.control.send(StreamLost{.stream = grant.stream});
  EXPECT_EQ(sender.control.expect<StreamDrained>().frames, 0u);
  HandConnection stream = sender.open_data(sender.preamble.job_id);
  stream.send(sender.join_message(grant));
  EXPECT_FALSE(stream.receive().has_value());
  receiver_.wait_for(Type::kPeerRefused);
  sender.control.close();
  expect_failed_job(FailureClass::kNetwork);
}

TEST_F(BadSender, TokenIsOfItsOwnJob) {
  HandSender one = new_sender();
  HandConnection stream = one.start(HandDisk("a.vhdx"));
  HandSender two = new_sender();
  two.connect();
  two.hello();
  two.offer({HandDisk("b.vhdx").offer});
  two.begin(0, HandDisk("b.vhdx").plan);
  const StreamGrant grant = two.request_streams(1).front();
  // Right token, right key, but the connection of another job.
  HandConnection crossed = one.open_data(one.preamble.job_id);
  crossed.send(one.join_message(grant));
  EXPECT_FALSE(crossed.receive().has_value());
  receiver_.wait_for(Type::kPeerRefused);
  one.control.close();
  two.control.close();
  receiver_.wait_for(Type::kJobFailed, 2);
  EXPECT_EQ(disks_in(target_), Names{});
}

TEST_F(BadSender, DiesAfterEveryStep) {
  for (int step = 0; step < 7; ++step) {
    SCOPED_TRACE(step);
    HandSender sender = new_sender();
    HandConnection stream(-1);
    const HandDisk disk("a.vhdx");
    sender.connect();
    if (step > 0) sender.hello();
    if (step > 1) sender.offer({disk.offer});
    if (step > 2) sender.begin(0, disk.plan);
    if (step > 3) stream = sender.join(sender.request_streams(1).front());
    if (step > 4) {
      sender.send_all(stream);
      sender.wait_written(4);
    }
    if (step > 5) {
      sender.control.send(sender.end_of(0));
      sender.control.expect<DiskSealed>();
    }
    sender.control.close();
    stream.close();
    expect_failed_job(FailureClass::kNetwork);
  }
}

// The answer to the last word is lost, not the disk: it is complete, and has its name.
TEST_F(BadSender, DiesAfterTheCommit) {
  HandSender sender = new_sender();
  HandConnection stream = sender.start(HandDisk("a.vhdx"));
  sender.send_all(stream);
  sender.wait_written(4);
  sender.control.send(sender.end_of(0));
  sender.control.expect<DiskSealed>();
  sender.control.send(CommitDisk{.disk = 0});
  sender.control.expect<DiskCommitted>();
  sender.control.close();
  receiver_.wait_for(Type::kJobFailed);
  EXPECT_EQ(names_in(target_), Names{"a.vhdx"});
}

class SilentJob : public BadSender {
 protected:
  SilentJob() : BadSender(Timeouts{.heartbeat = 100ms, .silence = 1s}) {}

  void TearDown() override {}  // the good sender has other ideas of how long silence lasts
};

TEST_F(SilentJob, IsGivenUp) {
  HandSender sender = new_sender();
  HandConnection stream = sender.start(HandDisk("a.vhdx"));
  sender.control.wait_for_close();
  expect_failed_job(FailureClass::kNetwork, "silent");
}

}  // namespace
}  // namespace vhdxm::transfer
