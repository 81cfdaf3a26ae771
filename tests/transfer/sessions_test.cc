// Both sessions of a job against each other: whole scripts, and a fault at every step of them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/transfer/session_pair.h"

namespace vhdxm::transfer {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using Fault = SessionPair::Fault;

TEST(Sessions, MoveOneDisk) {
  SessionPair pair({});
  pair.run();
  EXPECT_TRUE(pair.sender_finished);
  EXPECT_TRUE(pair.receiver_finished);
  EXPECT_THAT(pair.committed, ElementsAre(0U));
  EXPECT_THAT(pair.done, ElementsAre(0U));
  EXPECT_EQ(pair.sender.hash_seed(), pair.receiver.hash_seed());
  EXPECT_THAT(pair.log, Not(Contains("S>VerifyDisk")));
}

TEST(Sessions, MoveAChainAndSkipWhatIsThere) {
  SessionPair pair({.disks = 3, .actions = {OfferAction::kCompare, OfferAction::kSend}});
  pair.run();
  EXPECT_TRUE(pair.sender_finished);
  EXPECT_THAT(pair.identical, ElementsAre(0U));
  EXPECT_THAT(pair.committed, ElementsAre(1U, 2U));
  // Streams are opened once, for the first disk that is sent.
  EXPECT_EQ(std::count(pair.log.begin(), pair.log.end(), "S:OpenStreams"), 1);
}

TEST(Sessions, VerifyComesBeforeCommit) {
  SessionPair pair({.verify = true});
  pair.run();
  ASSERT_TRUE(pair.sender_finished);
  const auto at = [&](const char* what) {
    return std::find(pair.log.begin(), pair.log.end(), what) - pair.log.begin();
  };
  EXPECT_LT(at("R:SealDisk"), at("R:VerifyWith"));
  EXPECT_LT(at("R:VerifyWith"), at("S:CheckSource"));
  EXPECT_LT(at("S:CheckSource"), at("R:Commit"));
}

TEST(Sessions, PlaintextNeedsBothSides) {
  const auto plaintext = static_cast<std::uint64_t>(Feature::kPlaintextData);
  SessionPair both({.sender_features = plaintext, .receiver_features = plaintext});
  both.run();
  EXPECT_EQ(both.sender.welcome().features, plaintext);
  SessionPair only_sender({.sender_features = plaintext});
  only_sender.run();
  ASSERT_TRUE(only_sender.sender_abort);
  EXPECT_EQ(only_sender.sender_abort->error.code, Errc::kRefused);
  SessionPair only_receiver({.receiver_features = plaintext});
  only_receiver.run();
  EXPECT_TRUE(only_receiver.sender_finished);
  EXPECT_EQ(only_receiver.sender.welcome().features, 0U);
}

TEST(Sessions, ALostStreamIsDrainedRequeuedAndReplaced) {
  SessionPair dry({});
  dry.run();
  for (std::size_t at = dry.streams_open_at(); at + 2 < dry.steps(); ++at) {
    SCOPED_TRACE(fmt::format("stream lost before step {} of {}", at, dry.steps()));
    SessionPair pair({});
    pair.run(Fault::kStreamLost, at);
    EXPECT_TRUE(pair.sender_finished);
    EXPECT_THAT(pair.committed, ElementsAre(0U));
  }
  SessionPair pair({});
  pair.run(Fault::kStreamLost, dry.streams_open_at());
  EXPECT_THAT(pair.log, Contains("S:RequeueStream 1"));
  EXPECT_EQ(std::count(pair.log.begin(), pair.log.end(), "S:OpenStreams"), 2);
  EXPECT_EQ(pair.sender.streams_replaced(), 1U);
}

// Whatever goes wrong, and whenever: both sides end, the cause is told, and nothing is committed
// after either side knows that the job is over.
class FaultAtEveryStep : public ::testing::TestWithParam<Fault> {};

TEST_P(FaultAtEveryStep, EndsBothSides) {
  const SessionPair::Options options{
      .disks = 2, .verify = true, .actions = {OfferAction::kCompare, OfferAction::kSend}};
  SessionPair whole(options);
  whole.run();
  ASSERT_TRUE(whole.sender_finished);
  for (std::size_t at = 0; at < whole.steps(); ++at) {
    SCOPED_TRACE(fmt::format("fault before step {} of {}", at, whole.steps()));
    SessionPair pair(options);
    pair.run(GetParam(), at);
    EXPECT_TRUE(pair.sender.over());
    EXPECT_FALSE(pair.sender_finished && pair.sender_abort);
    EXPECT_FALSE(pair.receiver_finished && pair.receiver_abort);
    // The sender believes in a good end only if the receiver has committed everything.
    if (pair.sender_finished) {
      EXPECT_TRUE(pair.receiver_finished);
      EXPECT_THAT(pair.committed, ElementsAre(1U));
    } else {
      EXPECT_TRUE(pair.sender_abort);
    }
    // A receiver that never heard a Hello may still be waiting; any other has ended.
    if (!pair.receiver.over()) {
      EXPECT_THAT(pair.log, Not(Contains("R>Welcome")));
    }
    const auto abort = std::find(pair.log.begin(), pair.log.end(), "R:Abort");
    EXPECT_EQ(std::find(abort, pair.log.end(), "R:Commit"), pair.log.end());
  }
}

INSTANTIATE_TEST_SUITE_P(Sessions, FaultAtEveryStep,
                         ::testing::Values(Fault::kSenderError, Fault::kReceiverError,
                                           Fault::kSenderCancel, Fault::kReceiverCancel,
                                           Fault::kConnectionLost, Fault::kSenderSaysNonsense,
                                           Fault::kReceiverSaysNonsense));

TEST(Sessions, TheCauseReachesTheOtherSide) {
  SessionPair pair({});
  pair.run(Fault::kReceiverError, 6);
  ASSERT_TRUE(pair.sender_abort);
  EXPECT_THAT(pair.sender_abort->peer_text, ::testing::HasSubstr("fault of the test"));
  SessionPair other({});
  other.run(Fault::kSenderError, 6);
  ASSERT_TRUE(other.receiver_abort);
  EXPECT_THAT(other.receiver_abort->peer_text, ::testing::HasSubstr("fault of the test"));
}

ReceiverSession::Config receiver_of(const Preamble& preamble) {
  return {.preamble = preamble,
          .features = 0,
          .extent_bytes_max = 1 << 20,
          .streams_max = 2,
          .credit_bytes = 8 << 20,
          .nonce = 7,
          .software = "r",
          .grants_max = 4};
}

std::optional<Error> abort_of(ReceiverSession& session) {
  while (auto action = session.next_action()) {
    if (auto* abort = std::get_if<ReceiverSession::Abort>(&*action)) return abort->error;
  }
  return std::nullopt;
}

Hello example_hello(const Preamble& preamble) {
  return {.preamble = encode(preamble),
          .features = 0,
          .extent_bytes_max = 1 << 20,
          .streams_wanted = 2,
          .nonce = 1,
          .software = "s"};
}

TEST(ReceiverSession, RefusesAHelloForAnotherPreamble) {
  const Preamble preamble{.kind = ConnectionKind::kOffer, .job_id = {1}};
  ReceiverSession session(receiver_of(preamble));
  session.on_message(example_hello({.kind = ConnectionKind::kOffer, .job_id = {2}}));
  const auto error = abort_of(session);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Errc::kProtocol);
}

TEST(ReceiverSession, RefusesNamesThatReachOutOfTheFolder) {
  for (const char* name : {"../up.vhdx", "/etc/x.vhdx", "..", "", "a/b.vhdx", "line\n.vhdx"}) {
    ReceiverSession session(receiver_of({}));
    session.on_message(example_hello({}));
    OfferDisk disk = example_disk(0);
    disk.name = name;
    session.on_message(disk);
    const auto error = abort_of(session);
    ASSERT_TRUE(error) << name;
    EXPECT_EQ(error->code, Errc::kProtocol) << name;
  }
}

TEST(ReceiverSession, RefusesAGeometryThatBreaksTheFormat) {
  ReceiverSession session(receiver_of({}));
  session.on_message(example_hello({}));
  OfferDisk disk = example_disk(0);
  disk.description.geometry.virtual_size_bytes = ~std::uint64_t{0};
  session.on_message(disk);
  EXPECT_TRUE(abort_of(session));
}

TEST(ReceiverSession, KeepsForeignMetadataWithinItsBudget) {
  ReceiverSession session(receiver_of({}));
  session.on_message(example_hello({}));
  session.on_message(example_disk(0));
  std::optional<Error> error;
  for (int i = 0; i < 20 && !error; ++i) {
    OfferItem item{.disk = 0, .item = {}};
    item.item.content.resize(1 << 20);
    session.on_message(item);
    error = abort_of(session);
  }
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Errc::kTooLarge);
}

TEST(ReceiverSession, RefusesMoreStreamsThanAgreed) {
  ReceiverSession session(receiver_of({}));
  session.on_message(example_hello({}));
  session.on_message(example_disk(0));
  session.on_message(OfferEnd{.disk_count = 1});
  session.on_offer_checked({OfferAction::kSend});
  vhdx::BlockPlan plan(example_disk(0).description.geometry);
  const auto bytes = plan.encoded();
  session.on_message(PlanPart{.disk = 0, .first_byte = 0, .bytes = {bytes.begin(), bytes.end()}});
  session.on_message(BeginDisk{.disk = 0});
  session.on_disk_started(0);
  session.on_message(StreamRequest{.count = 3});
  const auto error = abort_of(session);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Errc::kTooLarge);
}

TEST(ReceiverSession, RefusesAnIncompleteBlockPlan) {
  ReceiverSession session(receiver_of({}));
  session.on_message(example_hello({}));
  session.on_message(example_disk(0));
  session.on_message(OfferEnd{.disk_count = 1});
  session.on_offer_checked({OfferAction::kSend});
  session.on_message(BeginDisk{.disk = 0});
  EXPECT_TRUE(abort_of(session));
}

TEST(ReceiverSession, ADiskOfNoBytesHasAPlanOfNoParts) {
  ReceiverSession session(receiver_of({}));
  session.on_message(example_hello({}));
  OfferDisk disk = example_disk(0);
  disk.description.geometry.virtual_size_bytes = 0;
  session.on_message(disk);
  session.on_message(OfferEnd{.disk_count = 1});
  session.on_offer_checked({OfferAction::kSend});
  session.on_message(BeginDisk{.disk = 0});
  EXPECT_FALSE(session.over());
}

SenderSession sender_with_welcome(const Welcome& welcome) {
  SenderSession session({.preamble = {},
                         .features = 0,
                         .extent_bytes_max = 1 << 20,
                         .streams_wanted = 2,
                         .nonce = 1,
                         .software = "s",
                         .verify = false,
                         .disks = {example_disk(0)}});
  session.start();
  session.on_message(welcome);
  return session;
}

TEST(SenderSession, RefusesAWelcomeThatPromisesNonsense) {
  const Welcome good{.features = 0,
                     .extent_bytes_max = 1 << 20,
                     .streams_max = 1,
                     .credit_bytes = 1 << 20,
                     .nonce = 0,
                     .software = "r"};
  EXPECT_FALSE(sender_with_welcome(good).over());
  Welcome bad = good;
  bad.extent_bytes_max = 2 << 20;
  EXPECT_TRUE(sender_with_welcome(bad).over());
  bad = good;
  bad.extent_bytes_max = 4096;
  EXPECT_TRUE(sender_with_welcome(bad).over());
  bad = good;
  bad.streams_max = 0;
  EXPECT_TRUE(sender_with_welcome(bad).over());
  bad = good;
  bad.credit_bytes = 1;
  EXPECT_TRUE(sender_with_welcome(bad).over());
  bad = good;
  bad.features = 1;
  EXPECT_TRUE(sender_with_welcome(bad).over());
}

}  // namespace
}  // namespace vhdxm::transfer
