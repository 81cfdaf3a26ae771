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

TEST(Sessions, DisksInUseGoInPassesAndAreHandedOver) {
  SessionPair pair({.disks = 2, .live_passes = 3});
  pair.run();
  EXPECT_TRUE(pair.sender_finished);
  EXPECT_TRUE(pair.receiver_finished);
  EXPECT_TRUE(pair.committed.empty()) << "they get their names by the hand-over";
  EXPECT_THAT(pair.done, ElementsAre(0U, 1U));
  EXPECT_EQ(std::count(pair.log.begin(), pair.log.end(), "R:SyncPass"), 3);
  EXPECT_EQ(std::count(pair.log.begin(), pair.log.end(), "S:StartPasses"), 1);
  EXPECT_THAT(pair.log, Not(Contains("S:CheckSource")));
  EXPECT_THAT(pair.handed_over, ElementsAre("introduced 1", "receiver p", "sender o"));
}

TEST(Sessions, DisksInUseAreReadAgainBetweenTwoPasses) {
  SessionPair pair({.verify = true, .live_passes = 2});
  pair.run();
  EXPECT_TRUE(pair.sender_finished);
  const auto at = [&](const char* what) {
    return std::find(pair.log.begin(), pair.log.end(), what) - pair.log.begin();
  };
  EXPECT_LT(at("S:PassDone 2"), at("S>VerifyRange"));
  EXPECT_EQ(std::count(pair.log.begin(), pair.log.end(), "R:ComparePages"), 2);
  EXPECT_LT(at("S:RangeCompared 1"), at("S:RangeCompared 0"));
  EXPECT_LT(at("S:RangeCompared 0"), at("S:PassDone 3"));
}

TEST(Sessions, ADiskInUseIsNeverTakenForOneThatIsThere) {
  SessionPair pair({.actions = {OfferAction::kCompare}, .live_passes = 1});
  pair.run();
  ASSERT_TRUE(pair.sender_abort);
  EXPECT_EQ(pair.sender_abort->error.code, Errc::kProtocol);
}

TEST(Sessions, FaultsOfALiveJobEndBothSides) {
  const SessionPair::Options options{.disks = 2,
                                     .verify = true,
                                     .held = {{.offset = 0, .length = 2 * kCellBytes}},
                                     .live_passes = 2};
  SessionPair whole(options);
  whole.run();
  ASSERT_TRUE(whole.sender_finished);
  for (const Fault fault :
       {Fault::kSenderError, Fault::kReceiverError, Fault::kSenderCancel, Fault::kReceiverCancel,
        Fault::kConnectionLost, Fault::kSenderSaysNonsense, Fault::kReceiverSaysNonsense}) {
    for (std::size_t at = 0; at < whole.steps(); ++at) {
      SCOPED_TRACE(fmt::format("fault {} before step {}", static_cast<int>(fault), at));
      SessionPair pair(options);
      pair.run(fault, at);
      EXPECT_TRUE(pair.sender.over());
      EXPECT_NE(pair.sender_finished, pair.sender_abort.has_value());
      if (!pair.receiver.over()) {
        EXPECT_THAT(pair.log, Not(Contains("R>Welcome")));
      }
    }
  }
  for (std::size_t at = whole.streams_open_at(); at + 2 < whole.steps(); ++at) {
    SessionPair pair(options);
    pair.run(Fault::kStreamLost, at);
    EXPECT_TRUE(pair.sender_finished) << "a lost stream is no fault, before step " << at;
  }
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
  const SessionPair::Options options{.disks = 2,
                                     .verify = true,
                                     .actions = {OfferAction::kCompare, OfferAction::kSend},
                                     .held = {{.offset = 0, .length = 2 * kCellBytes},
                                              {.offset = 4 * kCellBytes, .length = kCellBytes}}};
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

TEST(Sessions, WhatIsHeldIsHashedAndThenTheCopyGoesOn) {
  // The example disk has 256 cells of which these are held: more than are hashed at a time, of two
  // ranges.
  SessionPair pair({.held = {{.offset = 0, .length = 3 * kCellBytes},
                             {.offset = 8 * kCellBytes, .length = 248 * kCellBytes}}});
  pair.run();
  EXPECT_TRUE(pair.sender_finished);
  ASSERT_EQ(pair.cells.size(), 251U);
  EXPECT_EQ(pair.cells.front(), 0U);
  EXPECT_EQ(pair.cells[3], 8U);
  EXPECT_EQ(pair.cells.back(), 255U);
  EXPECT_THAT(pair.committed, ElementsAre(0U));
}

TEST(Sessions, EveryDiskOfAJobCanHoldSomething) {
  SessionPair pair({.disks = 3, .held = {{.offset = kCellBytes, .length = 2 * kCellBytes}}});
  pair.run();
  EXPECT_TRUE(pair.sender_finished);
  EXPECT_THAT(pair.cells, ElementsAre(1U, 2U, 1U, 2U, 1U, 2U));
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
  session.on_disk_started(0, {});
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

/// A session that copies the example disk, of which two cells are held; three from cell 4 on.
ReceiverSession receiver_that_copies() {
  ReceiverSession session(receiver_of({}));
  session.on_message(example_hello({}));
  session.on_message(example_disk(0));
  session.on_message(OfferEnd{.disk_count = 1});
  session.on_offer_checked({OfferAction::kSend});
  vhdx::BlockPlan plan(example_disk(0).description.geometry);
  const auto bytes = plan.encoded();
  session.on_message(PlanPart{.disk = 0, .first_byte = 0, .bytes = {bytes.begin(), bytes.end()}});
  session.on_message(BeginDisk{.disk = 0});
  session.on_disk_started(0, {.held = {{.offset = 4 * kCellBytes, .length = 3 * kCellBytes}}});
  return session;
}

std::size_t hash_actions(ReceiverSession& session, std::uint32_t& cells_max) {
  std::size_t count = 0;
  while (auto action = session.next_action()) {
    if (auto* hash = std::get_if<ReceiverSession::HashCells>(&*action)) {
      ++count;
      cells_max = hash->cells_max;
    }
  }
  return count;
}

TEST(ReceiverSession, HashesOnlyWhatThereIsCreditFor) {
  ReceiverSession session = receiver_that_copies();
  std::uint32_t cells_max = 0;
  EXPECT_EQ(hash_actions(session, cells_max), 0U) << "nothing was asked for yet";
  session.on_message(HashCredit{.disk = 0, .cells = 2});
  EXPECT_EQ(hash_actions(session, cells_max), 1U);
  EXPECT_EQ(cells_max, 2U);
  session.on_message(HashCredit{.disk = 0, .cells = 5});
  EXPECT_EQ(hash_actions(session, cells_max), 0U) << "one at a time";
  session.on_cells_hashed(0, 4, {{.low = 1}, {.low = 2}});
  EXPECT_EQ(hash_actions(session, cells_max), 1U);
  EXPECT_EQ(cells_max, 5U);
  session.on_cells_hashed(0, 6, {{.low = 3}});
  EXPECT_EQ(hash_actions(session, cells_max), 0U) << "no more is held";
}

TEST(ReceiverSession, RefusesCreditForMoreHashesThanAreEverKept) {
  ReceiverSession session = receiver_that_copies();
  session.on_message(HashCredit{.disk = 0, .cells = kCellHashesMax});
  EXPECT_FALSE(abort_of(session));
  session.on_message(HashCredit{.disk = 0, .cells = 1});
  EXPECT_TRUE(abort_of(session));
}

/// Of a disk in use, of which the first pass is there.
ReceiverSession receiver_between_passes() {
  ReceiverSession session(receiver_of({}));
  session.on_message(example_hello({}));
  session.on_message(example_disk(0));
  session.on_message(OfferEnd{.disk_count = 1, .kind = JobKind::kLive});
  session.on_offer_checked({OfferAction::kSend});
  const vhdx::BlockPlan plan(example_disk(0).description.geometry);
  const auto bytes = plan.encoded();
  session.on_message(PlanPart{.disk = 0, .first_byte = 0, .bytes = {bytes.begin(), bytes.end()}});
  session.on_message(BeginDisk{.disk = 0});
  session.on_disk_started(0, {});
  session.on_message(EndDisk{.disk = 0, .ledger = {}});
  session.on_sealed(0, {});
  return session;
}

TEST(ReceiverSession, RefusesToCompareWhatCannotBe) {
  const std::uint64_t page = kVerifyPageBytes;
  const std::uint64_t size = example_disk(0).description.geometry.virtual_size_bytes;
  const std::vector<VerifyRange> good = {
      {.disk = 0, .offset = 0, .length = page, .hashes = {1}},
      {.disk = 0, .offset = size - 2 * page, .length = 2 * page, .hashes = {1, 2}},
      {.disk = 0, .offset = page, .length = kVerifyHoleBytesMax - page, .hashes = {}},
  };
  for (const VerifyRange& range : good) {
    ReceiverSession session = receiver_between_passes();
    session.on_message(range);
    EXPECT_FALSE(abort_of(session)) << range.offset;
  }
  const std::vector<VerifyRange> bad = {
      {.disk = 1, .offset = 0, .length = page, .hashes = {1}},
      {.disk = 0, .offset = 0, .length = 0, .hashes = {}},
      {.disk = 0, .offset = 512, .length = page, .hashes = {1}},
      {.disk = 0, .offset = 0, .length = page + 512, .hashes = {1, 2}},
      {.disk = 0, .offset = 0, .length = page, .hashes = {1, 2}},
      {.disk = 0, .offset = 0, .length = 2 * page, .hashes = {1}},
      {.disk = 0, .offset = size, .length = page, .hashes = {1}},
      {.disk = 0, .offset = size - page, .length = 2 * page, .hashes = {1, 2}},
      {.disk = 0, .offset = page, .length = ~std::uint64_t{0} - page + 1, .hashes = {}},
      {.disk = 0, .offset = ~std::uint64_t{0} - page + 1, .length = page, .hashes = {1}},
      {.disk = 0, .offset = 0, .length = kVerifyHoleBytesMax + page, .hashes = {}},
  };
  for (const VerifyRange& range : bad) {
    ReceiverSession session = receiver_between_passes();
    session.on_message(range);
    const auto error = abort_of(session);
    ASSERT_TRUE(error) << range.offset << " " << range.length;
    EXPECT_EQ(error->code, Errc::kProtocol);
  }
}

TEST(ReceiverSession, ComparesOnlyBetweenPassesAndSoMuchAtATime) {
  const VerifyRange range{.disk = 0, .offset = 0, .length = kVerifyPageBytes, .hashes = {1}};
  ReceiverSession copying = receiver_that_copies();
  copying.on_message(range);
  EXPECT_TRUE(abort_of(copying)) << "there is nothing to compare yet";
  ReceiverSession handing_over = receiver_between_passes();
  handing_over.on_message(Handover{});
  handing_over.on_message(range);
  EXPECT_TRUE(abort_of(handing_over)) << "the disks may be another's";
  ReceiverSession session = receiver_between_passes();
  for (std::size_t i = 0; i < kVerifyRangesMax; ++i) session.on_message(range);
  session.on_pages_compared(0, 0, {});
  session.on_message(range);
  EXPECT_FALSE(abort_of(session));
  session.on_message(range);
  EXPECT_TRUE(abort_of(session)) << "one more than may be unanswered";
}

TEST(ReceiverSession, RefusesASeedThatReachesOutOfTheFolder) {
  for (const char* name : {"../up.vhdx", "/etc/x.vhdx", "..", "a/b.vhdx"}) {
    ReceiverSession session(receiver_of({}));
    session.on_message(example_hello({}));
    OfferDisk disk = example_disk(0);
    disk.seed_name = name;
    session.on_message(disk);
    EXPECT_TRUE(abort_of(session)) << name;
  }
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

/// A session that waits for DiskReady.
SenderSession sender_before_ready() {
  SenderSession session = sender_with_welcome({.features = 0,
                                               .extent_bytes_max = 1 << 20,
                                               .streams_max = 1,
                                               .credit_bytes = 1 << 20,
                                               .nonce = 0,
                                               .software = "r"});
  session.on_message(OfferReply{.actions = {OfferAction::kSend}});
  const vhdx::BlockPlan plan(example_disk(0).description.geometry);
  session.on_plan(0, plan.encoded());
  return session;
}

/// What was sent of example_disk(0) so far.
Ledger ledger_of(std::uint64_t raw_bytes) {
  Ledger ledger(0);
  for (std::uint64_t at = 0; at < raw_bytes; at += kCellBytes) {
    ledger.add(FrameHeader{
        .kind = FrameKind::kZero, .virtual_offset = at, .raw_length = std::uint32_t{kCellBytes}});
  }
  return ledger;
}

// Of a disk in use whose first pass is done.
std::unique_ptr<SenderSession> session_between_passes() {
  auto made = std::make_unique<SenderSession>(
      SenderSession::Config{.preamble = {.kind = ConnectionKind::kJobControl, .job_id = {1}},
                            .extent_bytes_max = 1 << 20,
                            .nonce = 1,
                            .software = "s",
                            .kind = JobKind::kLive,
                            .disks = {example_disk(0)}});
  SenderSession& session = *made;
  session.start();
  session.on_message(Welcome{
      .extent_bytes_max = 1 << 20, .streams_max = 1, .credit_bytes = 1 << 20, .software = "r"});
  session.on_message(OfferReply{.actions = {OfferAction::kSend}});
  const vhdx::Geometry& geometry = example_disk(0).description.geometry;
  session.on_plan(0, vhdx::BlockPlan(geometry).encoded());
  session.on_message(DiskReady{.disk = 0});
  session.on_message(StreamTokens{.grants = {{.stream = 0, .token = {}}}});
  const std::uint64_t first = geometry.virtual_size_bytes;
  session.on_copied(0, ledger_of(first));
  session.on_message(DiskSealed{.disk = 0, .ledger = ledger_of(first).sum()});
  EXPECT_TRUE(session.copying());
  while (session.next_action()) {
  }
  return made;
}

TEST(SenderSession, GivesAPassTheTimeThatSyncingItMayTake) {
  const std::unique_ptr<SenderSession> live = session_between_passes();
  SenderSession& session = *live;
  const std::uint64_t first = example_disk(0).description.geometry.virtual_size_bytes;
  // All that was sent since the last sync, and no more: a small pass is not given a whole disk's.
  std::uint32_t pass = 1;
  for (const std::uint64_t sent : {first + 8 * kCellBytes, first + 9 * kCellBytes}) {
    const std::uint64_t before = pass == 1 ? first : first + 8 * kCellBytes;
    session.on_pass_copied(++pass, {{.ledger = {}, .entries = 0, .raw_bytes = sent}});
    EXPECT_STREQ(session.awaited().what, "PassSynced");
    EXPECT_EQ(session.awaited().work_bytes, sent - before);
    session.on_message(PassSynced{.pass = pass});
    EXPECT_STRNE(session.awaited().what, "PassSynced");
  }
  EXPECT_FALSE(session.over());
}

TEST(SenderSession, TakesTheAnswersToWhatItAskedInTheirOrder) {
  const std::unique_ptr<SenderSession> live = session_between_passes();
  const std::uint64_t page = kVerifyPageBytes;
  EXPECT_STRNE(live->awaited().what, "RangeDiffers");
  live->verify_range({.disk = 0, .offset = 0, .length = 2 * page, .hashes = {1, 2}});
  live->verify_range({.disk = 0, .offset = 2 * page, .length = kVerifyHoleBytesMax, .hashes = {}});
  EXPECT_EQ(live->verifying(), 2U);
  EXPECT_STREQ(live->awaited().what, "RangeDiffers");
  live->on_message(RangeDiffers{.disk = 0, .offset = 0, .pages = {1}});
  live->on_message(RangeDiffers{.disk = 0, .offset = 2 * page, .pages = {}});
  EXPECT_EQ(live->verifying(), 0U);
  std::vector<SenderSession::RangeCompared> compared;
  while (auto action = live->next_action()) {
    if (auto* one = std::get_if<SenderSession::RangeCompared>(&*action)) compared.push_back(*one);
  }
  ASSERT_EQ(compared.size(), 2U);
  EXPECT_THAT(compared[0].differing, ElementsAre(1U));
  EXPECT_EQ(compared[1].offset, 2 * page);
  EXPECT_TRUE(compared[1].differing.empty());
  EXPECT_FALSE(live->over());
}

TEST(SenderSession, RefusesAnswersToWhatItDidNotAsk) {
  const std::uint64_t page = kVerifyPageBytes;
  const std::vector<RangeDiffers> bad = {
      {.disk = 1, .offset = page, .pages = {}},     {.disk = 0, .offset = 0, .pages = {}},
      {.disk = 0, .offset = page, .pages = {2}},    {.disk = 0, .offset = page, .pages = {1, 0}},
      {.disk = 0, .offset = page, .pages = {0, 0}},
  };
  for (const RangeDiffers& answer : bad) {
    const std::unique_ptr<SenderSession> live = session_between_passes();
    live->verify_range({.disk = 0, .offset = page, .length = 2 * page, .hashes = {1, 2}});
    live->on_message(answer);
    EXPECT_TRUE(live->over());
  }
  const std::unique_ptr<SenderSession> live = session_between_passes();
  live->on_message(RangeDiffers{.disk = 0, .offset = 0, .pages = {}});
  EXPECT_TRUE(live->over()) << "nothing was asked";
}

TEST(SenderSession, RefusesHeldRangesThatAreNone) {
  const std::uint64_t size = example_disk(0).description.geometry.virtual_size_bytes;
  const std::vector<std::vector<HeldRange>> bad = {
      {{.offset = 0, .length = 0}},
      {{.offset = 1, .length = kCellBytes}},
      {{.offset = 0, .length = kCellBytes + 512}},
      {{.offset = size, .length = kCellBytes}},
      {{.offset = 0, .length = size + kCellBytes}},
      {{.offset = kCellBytes, .length = ~std::uint64_t{0} - kCellBytes + 1}},
      {{.offset = kCellBytes, .length = kCellBytes}, {.offset = 0, .length = kCellBytes}},
      {{.offset = 0, .length = kCellBytes}, {.offset = kCellBytes, .length = kCellBytes}},
      {{.offset = 0, .length = 2 * kCellBytes}, {.offset = kCellBytes, .length = kCellBytes}}};
  for (std::size_t i = 0; i < bad.size(); ++i) {
    SenderSession session = sender_before_ready();
    session.on_message(HeldRanges{.disk = 0, .ranges = bad[i]});
    EXPECT_TRUE(session.over()) << i;
  }
  SenderSession session = sender_before_ready();
  session.on_message(HeldRanges{.disk = 0, .ranges = {{.offset = 0, .length = kCellBytes}}});
  session.on_message(HeldRanges{
      .disk = 0, .ranges = {{.offset = 2 * kCellBytes, .length = size - 2 * kCellBytes}}});
  EXPECT_FALSE(session.over());
}

TEST(SenderSession, RefusesHashesOfOtherCellsThanComeNext) {
  const auto copying = [] {
    SenderSession session = sender_before_ready();
    session.on_message(HeldRanges{.disk = 0,
                                  .ranges = {{.offset = kCellBytes, .length = 2 * kCellBytes},
                                             {.offset = 8 * kCellBytes, .length = kCellBytes}}});
    session.on_message(DiskReady{.disk = 0});
    session.on_message(StreamTokens{.grants = {{.stream = 0, .token = {}}}});
    return session;
  };
  SenderSession good = copying();
  good.on_message(CellHashes{.disk = 0, .first_cell = 1, .hashes = {{}, {}}});
  good.on_message(CellHashes{.disk = 0, .first_cell = 8, .hashes = {{}}});
  EXPECT_FALSE(good.over());
  good.on_message(CellHashes{.disk = 0, .first_cell = 9, .hashes = {{}}});
  EXPECT_TRUE(good.over());
  for (const CellHashes& bad : {CellHashes{.disk = 0, .first_cell = 0, .hashes = {{}}},
                                CellHashes{.disk = 0, .first_cell = 2, .hashes = {{}}},
                                CellHashes{.disk = 0, .first_cell = 1, .hashes = {{}, {}, {}}},
                                CellHashes{.disk = 0, .first_cell = 1, .hashes = {}},
                                CellHashes{.disk = 1, .first_cell = 1, .hashes = {{}}}}) {
    SenderSession session = copying();
    session.on_message(bad);
    EXPECT_TRUE(session.over()) << bad.first_cell << " " << bad.hashes.size();
  }
  SenderSession early = sender_before_ready();
  early.on_message(CellHashes{.disk = 0, .first_cell = 1, .hashes = {{}}});
  EXPECT_TRUE(early.over());
}

}  // namespace
}  // namespace vhdxm::transfer
