// Peers that are alive, say so, and never take the step that is due: every wait of either side ends
// by itself, says what it waited for, and is worth another try.
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "base/posix_file.h"
#include "tests/net/hand_receiver.h"
#include "tests/net/hand_sender.h"
#include "tests/net/net_test.h"
#include "tests/net/plain_cutover.h"
#include "tests/support/expect_error.h"
#include "transfer/link_measurer.h"
#include "transfer/live_sender.h"
#include "transfer/stall_watch.h"
#include "vhdx/layer.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using test::write_data_disk;
using vhdx::kMiB;

// A peer's silence is not what ends these jobs: it says Heartbeat as often as it hears one.
constexpr Timeouts kImpatient{.heartbeat = 100ms, .stall = 1s};

class LivingReceiver : public NetTest {
 protected:
  LivingReceiver() { options_.timeouts = kImpatient; }

  using Steps = std::function<void()>;

  /// After `steps` the receiver takes no other; the sender gives up, and tells both what it missed.
  void expect_given_up(const char* missed, const Steps& steps) {
    SCOPED_TRACE(missed);
    receiver_.emplace(key_);
    options_.port = receiver_->listener.port();
    RunningSender sender(options_);
    receiver_->accept_control();
    receiver_->control.stay_alive(true);
    steps();
    expect_fail(missed);
    receiver_->control.close();
    const SendResult result = sender.result();
    EXPECT_TRUE(failed_as(result, FailureClass::kNetwork, missed));
    stream_.close();
  }

  void expect_fail(const char* missed) {
    while (const auto message = receiver_->control.receive()) {
      const auto* fail = std::get_if<Fail>(&*message);
      if (fail == nullptr) continue;
      EXPECT_EQ(fail->code, static_cast<int>(Errc::kTimeout)) << fail->text;
      EXPECT_NE(fail->text.find(missed), std::string::npos) << fail->text;
      return;
    }
    ADD_FAILURE() << "the sender went without a word";
  }

  void read_until_offer_end() {
    receiver_->control.send(receiver_->welcome);
    for (;;) {
      const auto message = receiver_->control.receive();
      ASSERT_TRUE(message.has_value());
      if (const auto* disk = std::get_if<OfferDisk>(&*message)) receiver_->disks.push_back(*disk);
      if (std::holds_alternative<OfferEnd>(*message)) return;
    }
  }
  void read_until_begin_disk() {
    receiver_->take_offer();
    for (auto message = receiver_->control.receive(); message.has_value();
         message = receiver_->control.receive()) {
      if (std::holds_alternative<BeginDisk>(*message)) return;
    }
    ADD_FAILURE() << "the connection ended in the plan";
  }
  void take_stream() {
    receiver_->take_offer();
    receiver_->take_plan(0);
    stream_ = receiver_->take_stream();
  }
  void take_disk() {
    take_stream();
    receiver_->take_disk(stream_);
    receiver_->control.expect<EndDisk>();
  }
  void seal() {
    take_disk();
    receiver_->control.send(DiskSealed{.disk = 0, .ledger = receiver_->ledger.sum()});
  }

  SenderOptions options_ = sender_options(write_data_disk(source_, "a.vhdx", 1), 0);
  std::optional<HandReceiver> receiver_;
  HandConnection stream_{-1};
};

TEST_F(LivingReceiver, IsNotSilent) {
  options_.timeouts.silence = 1s;
  options_.timeouts.stall = 2s;
  expect_given_up("OfferReply", [this] { read_until_offer_end(); });
}

TEST_F(LivingReceiver, NeverSaysWelcome) {
  expect_given_up("Welcome", [] {});
}

TEST_F(LivingReceiver, NeverAnswersTheOffer) {
  expect_given_up("OfferReply", [this] { read_until_offer_end(); });
}

TEST_F(LivingReceiver, NeverSaysWhetherADiskIsTheSame) {
  expect_given_up("CompareSame", [this] {
    read_until_offer_end();
    receiver_->control.send(OfferReply{.actions = {OfferAction::kCompare}});
    receiver_->control.expect<CompareDigest>();
  });
}

TEST_F(LivingReceiver, IsNeverReadyForADisk) {
  expect_given_up("DiskReady", [this] { read_until_begin_disk(); });
}

TEST_F(LivingReceiver, NeverGrantsAStream) {
  expect_given_up("StreamTokens", [this] {
    receiver_->take_offer();
    receiver_->take_plan(0);
    receiver_->control.expect<StreamRequest>();
  });
}

TEST_F(LivingReceiver, AnnouncesCellsAndNeverSaysTheirHashes) {
  expect_given_up("CellHashes", [this] {
    read_until_begin_disk();
    receiver_->control.send(HeldRanges{.disk = 0, .ranges = {{.offset = 0, .length = kMiB}}});
    receiver_->control.send(DiskReady{.disk = 0, .partial = PartialState::kResumed});
    stream_ = receiver_->take_stream();
    // All that is not held comes, and is acknowledged.
    std::uint64_t frames = 0;
    for (std::uint64_t bytes = kMiB;
         bytes < receiver_->disks.front().description.geometry.virtual_size_bytes; ++frames) {
      const auto frame = receiver_->take_frame(stream_);
      ASSERT_NE(frame.header.kind, FrameKind::kEnd);
      bytes += frame.header.raw_length;
      receiver_->control.send(Written{.streams = {{.stream = 0, .frames = frames + 1}},
                                      .credit_bytes = frame.payload.size()});
    }
    EXPECT_EQ(receiver_->control.expect<HashCredit>().cells, kCellHashesMax);
  });
}

TEST_F(LivingReceiver, AcknowledgesFramesButGivesNoCreditBack) {
  expect_given_up("Written", [this] {
    receiver_->welcome.credit_bytes = 1 << 20;
    take_stream();
    receiver_->take_frame(stream_);
    receiver_->control.send(Written{.streams = {{.stream = 0, .frames = 1}}, .credit_bytes = 0});
  });
}

TEST_F(LivingReceiver, AcknowledgesNothingAgainAndAgain) {
  options_.streams = 1;
  expect_given_up("StreamDrained", [this] {
    take_stream();
    // Every stream gets another chance before the job is given up.
    while (const auto message = receiver_->control.receive()) {
      if (std::holds_alternative<StreamLost>(*message)) break;
    }
    for (int i = 0; i < 3; ++i) {
      receiver_->control.send(Written{.streams = {{.stream = 0, .frames = 0}}, .credit_bytes = 0});
      receiver_->control.send(Durable{.disk = 0, .raw_bytes = 0});
    }
  });
}

TEST_F(LivingReceiver, NeverGrantsAnotherStreamForALostOne) {
  expect_given_up("StreamTokens", [this] {
    take_stream();
    stream_.close();
    EXPECT_EQ(receiver_->control.expect<StreamLost>().stream, 0U);
    receiver_->control.send(StreamDrained{.stream = 0, .frames = 0});
    receiver_->control.expect<StreamRequest>();
  });
}

TEST_F(LivingReceiver, NeverSealsTheDisk) {
  expect_given_up("DiskSealed", [this] { take_disk(); });
}

TEST_F(LivingReceiver, NeverSaysWhatItVerified) {
  options_.verify = true;
  expect_given_up("VerifySame", [this] {
    seal();
    receiver_->control.expect<VerifyDisk>();
  });
}

TEST_F(LivingReceiver, NeverSaysThatItCommitted) {
  expect_given_up("DiskCommitted", [this] {
    seal();
    receiver_->control.expect<CommitDisk>();
  });
}

TEST_F(LivingReceiver, NeverSaysThatTheJobIsDone) {
  expect_given_up("JobDone", [this] {
    seal();
    receiver_->control.expect<CommitDisk>();
    receiver_->control.send(DiskCommitted{.disk = 0});
    receiver_->control.expect<EndJob>();
  });
}

// Nothing of what is said to it is read: the plan of a large disk fills what the kernels hold.
TEST_F(LivingReceiver, NeverReads) {
  auto geometry = test::small_geometry(std::uint64_t{64} << 40);
  options_.disk_path = test::write_disk(source_, "large.vhdx", test::data_disk(geometry, 0, 1));
  // It says nothing either, and a sanitizer may take a minute over such a plan.
  options_.timeouts.silence = 10min;
  receiver_.emplace(key_);
  options_.port = receiver_->listener.port();
  RunningSender sender(options_);
  receiver_->accept_control();
  receiver_->take_offer();
  const SendResult result = sender.result();
  EXPECT_TRUE(failed_as(result, FailureClass::kNetwork, kReadsWhatItIsTold));
}

// Of a disk in use: whoever uses it must be able to go on, and not wait for a job that never ends.
class LivingReceiverOfPasses : public LivingReceiver {
 protected:
  void expect_given_up(const char* missed, const Steps& steps) {
    SCOPED_TRACE(missed);
    receiver_.emplace(key_);
    options_.disk_path.clear();
    options_.port = receiver_->listener.port();
    LiveSender sender({.sender = options_, .disks = {{disk_, "a.vhdx"}}}, cutover_);
    auto outcome = std::async(std::launch::async, [&] { return sender.run(); });
    receiver_->accept_control();
    receiver_->control.stay_alive(true);
    receiver_->take_offer(word('I'));
    receiver_->take_plan(0);
    stream_ = receiver_->take_stream();
    frames_ = receiver_->take_disk(stream_);
    receiver_->control.expect<EndDisk>();
    steps();
    expect_fail(missed);
    receiver_->control.close();
    stream_.close();
    EXPECT_TRUE(failed_as(outcome.get(), FailureClass::kNetwork, missed));
    EXPECT_EQ(sender.outcome(), CutoverSource::State::kVoid);
    EXPECT_TRUE(test::succeeded(write()));
  }
  Result<void> write() {
    return disk_->write(0, payload_of(1, 4096), LiveDisk::Durability::kAtFlush);
  }
  void seal() { receiver_->control.send(DiskSealed{.disk = 0, .ledger = receiver_->ledger.sum()}); }
  /// As a guest does while the first pass goes, so that there is something for the next.
  void write_and_seal() {
    ASSERT_TRUE(test::succeeded(write()));
    seal();
    EXPECT_EQ(receiver_->take_frame(stream_).header.pass, 2U);
    ++frames_;
  }
  void acknowledge() {
    receiver_->control.send(
        Written{.streams = {{.stream = 0, .frames = frames_}}, .credit_bytes = kMiB});
  }

  const std::shared_ptr<SharedGate> gate_ = std::make_shared<SharedGate>();
  const std::shared_ptr<LiveDisk> disk_ = LiveDisk::open(options_.disk_path, gate_, {}).value();
  PlainSource cutover_{*gate_};
  std::uint64_t frames_ = 0;  ///< That came.
};

TEST_F(LivingReceiverOfPasses, NeverSaysThatItSyncedAPass) {
  expect_given_up("PassSynced", [this] {
    write_and_seal();
    acknowledge();
    receiver_->control.expect<EndPass>();
  });
}

TEST_F(LivingReceiverOfPasses, NeverSaysThatItSyncedAPassOfNothing) {
  expect_given_up("PassSynced", [this] {
    seal();
    receiver_->control.expect<EndPass>();
  });
}

TEST_F(LivingReceiverOfPasses, NeverAcknowledgesWhatAPassBrings) {
  options_.streams = 1;
  expect_given_up("StreamDrained", [this] {
    write_and_seal();
    // The stream gets another chance before the job is given up.
    receiver_->control.expect<StreamLost>();
  });
}

TEST_F(LivingReceiverOfPasses, NeverGrantsAnotherStreamInAPass) {
  expect_given_up("StreamTokens", [this] {
    write_and_seal();
    stream_.close();
    receiver_->control.expect<StreamLost>();
    // What it did not apply comes with the next pass.
    receiver_->control.send(StreamDrained{.stream = 0, .frames = frames_ - 1});
    receiver_->control.expect<StreamRequest>();
    receiver_->control.send(PassSynced{.pass = receiver_->control.expect<EndPass>().pass});
  });
}

TEST_F(LivingReceiverOfPasses, NeverSaysWhatItReadsAgain) {
  options_.verify = true;
  expect_given_up("RangeDiffers", [this] {
    seal();
    receiver_->control.send(PassSynced{.pass = receiver_->control.expect<EndPass>().pass});
    receiver_->control.expect<VerifyRange>();
  });
}

class LivingMeasuredReceiver : public LivingReceiver {
 protected:
  void expect_given_up(const char* missed, const Steps& steps) {
    SCOPED_TRACE(missed);
    receiver_.emplace(key_);
    options_.port = receiver_->listener.port();
    const std::vector<std::byte> sample(kMiB, std::byte{7});
    LinkMeasurer measurer(options_, sample);
    auto outcome = std::async(std::launch::async, [&] { return measurer.run(); });
    receiver_->accept_control();
    receiver_->control.stay_alive();
    steps();
    while (receiver_->control.receive().has_value()) {
    }
    receiver_->control.close();
    stream_.close();
    const auto result = outcome.get();
    ASSERT_TRUE(result.has_error());
    EXPECT_TRUE(failed_as(result.error(), FailureClass::kNetwork, missed));
  }
};

TEST_F(LivingMeasuredReceiver, NeverSaysWelcome) {
  expect_given_up("Welcome", [] {});
}

TEST_F(LivingMeasuredReceiver, NeverMeasuresNorGrantsNorSaysItsLoad) {
  const auto welcome = [this] {
    receiver_->control.send(receiver_->welcome);
    receiver_->control.expect<Measure>();
  };
  expect_given_up("MeasureReady", welcome);
  const auto measured = [&] {
    welcome();
    receiver_->control.send(MeasureReady{.processors = 1});
  };
  expect_given_up("StreamTokens", measured);
  expect_given_up("Load", [&] {
    measured();
    stream_ = receiver_->take_stream();
  });
}

class LivingSender : public NetTest {
 protected:
  LivingSender() {
    ReceiverOptions options = receiver_options();
    options.timeouts = kImpatient;
    receiver_.emplace(options);
  }

  /// After `steps` the sender takes no other; the receiver gives up, and tells both what it missed.
  void expect_given_up(const char* missed, const std::function<void(HandSender&)>& steps) {
    SCOPED_TRACE(missed);
    HandSender sender(receiver_->port(), key_);
    sender.connect();
    sender.control.stay_alive();
    steps(sender);
    const Fail fail = sender.expect_fail();
    EXPECT_EQ(fail.code, static_cast<int>(Errc::kTimeout)) << fail.text;
    EXPECT_NE(fail.text.find(missed), std::string::npos) << fail.text;
    const auto event = receiver_->wait_for(ReceiverEvent::Type::kJobFailed, ++failed_);
    ASSERT_TRUE(event.failure.has_value());
    EXPECT_TRUE(failed_as(*event.failure, FailureClass::kNetwork, missed));
    stream_.close();
  }

  /// Up to and with streams that joined.
  void start(HandSender& sender) {
    sender.hello();
    sender.offer({disk_.offer});
    sender.begin(0, disk_.plan);
    stream_ = sender.join(sender.request_streams(1).front());
  }
  void copy(HandSender& sender) {
    start(sender);
    sender.send_all(stream_);
    sender.wait_written(4);
    sender.control.send(sender.end_of(0));
    sender.control.expect<DiskSealed>();
  }

  const HandDisk disk_ = HandDisk("a.vhdx");
  std::optional<RunningReceiver> receiver_;
  HandConnection stream_{-1};
  std::size_t failed_ = 0;
};

TEST_F(LivingSender, NeverSaysHelloOrOffers) {
  expect_given_up("Hello", [](HandSender&) {});
  expect_given_up("OfferDisk", [](HandSender& sender) { sender.hello(); });
  expect_given_up("OfferEnd", [this](HandSender& sender) {
    sender.hello();
    sender.control.send(disk_.offer);
  });
}

TEST_F(LivingSender, NeverSaysWhatItsDiskHas) {
  expect_given_up("BeginDisk", [this](HandSender& sender) {
    sender.hello();
    sender.offer({disk_.offer});
  });
}

TEST_F(LivingSender, NeverSaysTheDigestOfADiskThatIsThere) {
  const std::string disk = write_data_disk(source_, "there.vhdx", 1);
  ASSERT_TRUE(succeeded(send(sender_options(disk, receiver_->port()))));
  HandDisk there("there.vhdx");
  const std::shared_ptr<File> file = PosixFile::open(disk, {}).value();
  there.offer.description =
      vhdx::Layer::open(file, vhdx::Layer::Replay::kInMemory).value()->description();
  expect_given_up("CompareDigest", [&](HandSender& sender) {
    sender.hello();
    sender.control.send(there.offer);
    sender.control.send(OfferEnd{.disk_count = 1});
    EXPECT_EQ(sender.control.expect<OfferReply>().actions.at(0), OfferAction::kCompare);
  });
}

TEST_F(LivingSender, NeverOpensAStreamOrSendsAFrame) {
  expect_given_up("frames", [this](HandSender& sender) {
    sender.hello();
    sender.offer({disk_.offer});
    sender.begin(0, disk_.plan);
  });
  expect_given_up("frames", [this](HandSender& sender) { start(sender); });
}

TEST_F(LivingSender, StopsInTheMiddleOfAFrame) {
  expect_given_up("frames", [this](HandSender& sender) {
    start(sender);
    const auto payload = payload_of(1);
    stream_.send(sender.data_frame(0, payload), std::span(payload).first(1000));
  });
}

TEST_F(LivingSender, NeverEndsTheDisk) {
  expect_given_up("EndDisk", [this](HandSender& sender) {
    start(sender);
    sender.send_all(stream_);
    sender.wait_written(4);
  });
}

TEST_F(LivingSender, NeverCommits) {
  expect_given_up("CommitDisk", [this](HandSender& sender) { copy(sender); });
}

TEST_F(LivingSender, NeverEndsTheJob) {
  expect_given_up("EndJob", [this](HandSender& sender) {
    copy(sender);
    sender.control.send(CommitDisk{.disk = 0});
    sender.control.expect<DiskCommitted>();
  });
}

TEST_F(LivingSender, AsksToMeasureAndNeverDoes) {
  expect_given_up("frames", [](HandSender& sender) {
    sender.hello();
    sender.control.send(Measure{});
    sender.control.expect<MeasureReady>();
  });
}

}  // namespace
}  // namespace vhdxm::transfer
