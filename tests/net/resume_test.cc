// A send that broke and is run again goes on: what is there is compared, not sent.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/net/hand_sender.h"
#include "tests/net/resume_fixture.h"
#include "tests/support/random_seed.h"
#include "transfer/partials.h"

namespace vhdxm::transfer {
namespace {

using test::expect_same_layer;
using test::Names;
using test::names_in;
using test::small_geometry;
using test::write_data_disk;
using test::write_disk;
using vhdx::kMiB;

TEST_F(Resume, GoesOnWhereverItWasCut) {
  RunningReceiver receiver(receiver_options());
  for (const std::uint64_t cut :
       {std::uint64_t{1}, std::uint64_t{200'000}, kMiB, 3 * kMiB + 77, 6 * kMiB, 9 * kMiB}) {
    SCOPED_TRACE(cut);
    const std::string name = fmt::format("{}.vhdx", cut);
    const std::string disk = write_data_disk(source_, name, cut, 10 * kMiB);
    const Failure failure = send_cut(disk, receiver.port(), cut);
    EXPECT_EQ(failure.advice, "Run the same command again: it resumes.");
    EXPECT_TRUE(journal_of(name));
    const JobReport report = send_again(disk, one_stream(disk, receiver.port()));
    EXPECT_TRUE(report.disks.at(0).resumed);
    // All that is there is kept: how much came through before the cut is the network's affair.
    EXPECT_EQ(report.totals.same_bytes, report.totals.resumed_bytes);
    EXPECT_EQ(report.totals.bytes_done, report.totals.bytes_total);
    EXPECT_LE(report.totals.wire_bytes, report.totals.bytes_total - report.totals.same_bytes +
                                            report.frames * kFrameHeaderBytes);
    EXPECT_EQ(report.totals.partials_replaced, 0U);
  }
}

TEST_F(Resume, WhatIsSentAgainIsBounded) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 80 * kMiB);
  send_cut(disk, receiver.port(), 60 * kMiB);
  const JobReport report = send_again(disk, sender_options(disk, receiver.port()));
  EXPECT_GE(report.totals.same_bytes, 44 * kMiB) << "more than 16 MiB were sent twice";
  EXPECT_LE(report.totals.wire_bytes, 37 * kMiB);
}

TEST_F(Resume, BreaksAgainAndAgain) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 32 * kMiB);
  for (int round = 0; round < 12; ++round) send_cut(disk, receiver.port(), 2 * kMiB + 12345);
  const JobReport report = send_again(disk, one_stream(disk, receiver.port()));
  EXPECT_EQ(report.totals.same_bytes, report.totals.resumed_bytes);
  // A reset takes what the receiver had not read with it, so a round may add little: hence many.
  EXPECT_GE(report.totals.same_bytes, kMiB);
}

TEST_F(Resume, ASenderThatIsCancelledLeavesAPartial) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 32 * kMiB);
  SenderOptions options = one_stream(disk, receiver.port());
  options.limit_bytes_per_second = 16 * kMiB;
  Sender* running = nullptr;
  Sender sender(options, [&running](const Progress& progress) {
    if (progress.written_bytes >= kMiB) running->cancel();
  });
  running = &sender;
  EXPECT_TRUE(failed_as(sender.run(), FailureClass::kCancelled));
  EXPECT_TRUE(receiver.wait_for(ReceiverEvent::Type::kJobFailed).kept);
  EXPECT_EQ(names_in(target_), Names{"a.vhdx.partial"});
  const JobReport report = send_again(disk, sender_options(disk, receiver.port()));
  EXPECT_GE(report.totals.same_bytes, kMiB - kCellBytes);
  EXPECT_EQ(receiver.wait_for(ReceiverEvent::Type::kDiskResumed).disk, "a.vhdx");
}

TEST_F(Resume, AReceiverThatIsStoppedLeavesAPartialForTheNextOne) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 32 * kMiB);
  {
    RunningReceiver* running = nullptr;
    RunningReceiver receiver(receiver_options(), [&running](const ReceiverEvent& event) {
      if (event.progress && event.progress->written_bytes >= kMiB) running->ask_to_stop();
    });
    running = &receiver;
    SenderOptions options = one_stream(disk, receiver.port());
    options.limit_bytes_per_second = 16 * kMiB;
    EXPECT_TRUE(failed_as(send(options), FailureClass::kCancelled));
  }
  EXPECT_EQ(names_in(target_), Names{"a.vhdx.partial"});
  RunningReceiver receiver(receiver_options());
  EXPECT_GE(send_again(disk, sender_options(disk, receiver.port())).totals.same_bytes,
            kMiB - kCellBytes);
}

TEST_F(Resume, ACompletePartialIsAlmostNothingOnTheWire) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 32 * kMiB);
  // The source changes just before it would be committed: so all of it is there, and sealed.
  std::filesystem::path touched = disk;
  bool done = false;
  Sender sender(sender_options(disk, receiver.port()), [&](const Progress& progress) {
    if (progress.phase != Phase::kSealing || done) return;
    done = true;
    std::filesystem::last_write_time(touched, std::filesystem::file_time_type::clock::now());
  });
  EXPECT_TRUE(failed_as(sender.run(), FailureClass::kFailed, "changed"));
  receiver.wait_for(ReceiverEvent::Type::kJobFailed);
  ASSERT_EQ(names_in(target_), Names{"a.vhdx.partial"});
  std::shared_ptr<File> file = PosixFile::open(target_ / "a.vhdx.partial", {}).value();
  EXPECT_TRUE(vhdx::Layer::open(file, vhdx::Layer::Replay::kInMemory).has_error())
      << "a partial that was sealed is no VHDX any more";
  const test::TcpProxy proxy(receiver.port());
  SenderOptions options = sender_options(disk, proxy.port());
  options.verify = true;
  const JobReport report = send_again(disk, options);
  EXPECT_EQ(report.totals.same_bytes, report.totals.bytes_total - report.totals.zero_bytes);
  // Hashes, frames of no payload, and 8 KiB or so for five handshakes.
  EXPECT_LE(proxy.recorded().size(), 32 * kMiB / 1000 + 16 * 1024);
}

TEST_F(Resume, AChangedSourceIsNoticedCellByCell) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 20 * kMiB);
  send_cut(disk, receiver.port(), 18 * kMiB);
  overwrite(disk, 3 * kMiB + 512, std::vector<std::byte>(512, std::byte{0xab}));
  overwrite(disk, 5 * kMiB, std::vector<std::byte>(kCellBytes, std::byte{0}));
  const JobReport report = send_again(disk, one_stream(disk, receiver.port()));
  EXPECT_TRUE(report.disks.at(0).resumed);
  EXPECT_EQ(report.totals.same_bytes, report.totals.resumed_bytes - 2 * kCellBytes);
}

TEST_F(Resume, ADamagedPartialIsNoticed) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 20 * kMiB);
  send_cut(disk, receiver.port(), 18 * kMiB);
  {
    std::fstream partial(target_ / "a.vhdx.partial", std::ios::in | std::ios::out);
    for (const std::uint64_t at : {6 * kMiB + 17, 9 * kMiB}) {
      partial.seekp(static_cast<std::streamoff>(at));
      partial << "damage";
    }
  }
  const JobReport report = send_again(disk, one_stream(disk, receiver.port()));
  EXPECT_EQ(report.totals.same_bytes, report.totals.resumed_bytes - 2 * kCellBytes);
}

TEST_F(Resume, APartialOfAnotherDiskIsReplaced) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 8 * kMiB);
  send_cut(disk, receiver.port(), 5 * kMiB);
  const std::string other = write_data_disk(source_, "b.vhdx", 2, 8 * kMiB);
  SenderOptions options = one_stream(other, receiver.port());
  options.name = "a.vhdx";
  const auto result = send(options);
  ASSERT_TRUE(succeeded(result));
  expect_same_layer(other, target_ / "a.vhdx");
  EXPECT_EQ(result->totals.partials_replaced, 1U);
}

TEST_F(Resume, ABadJournalIsNeverTrusted) {
  RunningReceiver receiver(receiver_options());
  for (const int how : {0, 1, 2}) {
    SCOPED_TRACE(how);
    const std::string name = fmt::format("{}.vhdx", how);
    const std::string disk = write_data_disk(source_, name, 1, 6 * kMiB);
    send_cut(disk, receiver.port(), 4 * kMiB);
    const std::string journal = target_ / kStateFolderName + "/" + JournalFile::file_name(name);
    ASSERT_TRUE(std::filesystem::exists(journal));
    if (how == 0) std::filesystem::remove(journal);
    if (how == 1) std::filesystem::resize_file(journal, 40);
    if (how == 2) std::ofstream(journal) << std::string(300, 'x');
    const JobReport report = send_again(disk, one_stream(disk, receiver.port()));
    EXPECT_EQ(report.totals.same_bytes, 0U);
    EXPECT_EQ(report.totals.partials_replaced, 1U);
  }
}

TEST_F(Resume, APartialThatWasCutShortStartsAnew) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 6 * kMiB);
  send_cut(disk, receiver.port(), 4 * kMiB);
  std::filesystem::resize_file(target_ / "a.vhdx.partial", 3 * kMiB);
  EXPECT_EQ(send_again(disk, one_stream(disk, receiver.port())).totals.partials_replaced, 1U);
}

TEST_F(Resume, ADifferencingLayerIsComparedBySectorsAndTheirPresence) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  RunningReceiver receiver(receiver_options());
  for (int round = 0; round < 6; ++round) {
    const std::string base = write_data_disk(source_, fmt::format("base{}.vhdx", round), 1);
    SCOPED_TRACE(round);
    vhdx::Geometry geometry = small_geometry(8 * kMiB);
    geometry.type = vhdx::DiskType::kDifferencing;
    const auto model = test::ModelDisk::random(geometry, random, 6 * kMiB);
    const std::string child =
        test::write_child(source_, fmt::format("child{}.avhdx", round), model, base);
    const auto first = send(one_stream(base, receiver.port()));
    ASSERT_TRUE(succeeded(first));
    using Kind = test::ProxyFault::Kind;
    const test::TcpProxy proxy(receiver.port(), [&](std::size_t connection) {
      if (connection == 0) return test::ProxyRule{};
      return test::ProxyRule{
          .up = {.kind = Kind::kCut, .after_bytes = connection == 1 ? random() % (4 * kMiB) : 0}};
    });
    const auto cut = send(one_stream(child, proxy.port()));
    if (cut.has_value()) continue;  // there was less than that
    const JobReport report = send_again(child, sender_options(child, receiver.port()));
    EXPECT_EQ(report.totals.bytes_done, report.totals.bytes_total);
  }
}

TEST_F(Resume, RandomDisksCutAtRandom) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  RunningReceiver receiver(receiver_options());
  for (int i = 0; i < 8; ++i) {
    SCOPED_TRACE(i);
    const std::string name = std::to_string(i) + ".vhdx";
    vhdx::Geometry geometry =
        small_geometry((4 + random() % 100) * 256 * 1024 + 512 * (random() % 2));
    geometry.block_bytes = 1u << (20 + random() % 4);
    if (geometry.virtual_size_bytes % 4096 == 0 && random() % 2 == 0) {
      geometry.logical_sector_bytes = 4096;
    }
    if (random() % 3 == 0) geometry.type = vhdx::DiskType::kFixed;
    const auto model = test::ModelDisk::random(geometry, random, 16 * kMiB);
    const std::string disk = write_disk(source_, name, model);
    using Kind = test::ProxyFault::Kind;
    const std::uint64_t at = random() % (8 * kMiB);
    const test::TcpProxy proxy(receiver.port(), [at](std::size_t connection) {
      if (connection == 0) return test::ProxyRule{};
      return test::ProxyRule{.up = {.kind = Kind::kCut, .after_bytes = connection == 1 ? at : 0}};
    });
    if (send(one_stream(disk, proxy.port())).has_value()) continue;
    SenderOptions options = sender_options(disk, receiver.port());
    options.verify = true;
    const JobReport report = send_again(disk, options);
    EXPECT_EQ(report.totals.bytes_done, report.totals.bytes_total);
  }
}

TEST_F(Resume, StreamsThatBreakWhileCellsAreComparedLoseNothing) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 32 * kMiB);
  send_cut(disk, receiver.port(), 28 * kMiB);
  using Kind = test::ProxyFault::Kind;
  const test::TcpProxy proxy(receiver.port(), [](std::size_t connection) {
    if (connection == 0 || connection > 6) return test::ProxyRule{};
    return test::ProxyRule{.up = {.kind = Kind::kCut, .after_bytes = 1500 * connection}};
  });
  SenderOptions options = sender_options(disk, proxy.port());
  options.streams = 2;
  const JobReport report = send_again(disk, options);
  EXPECT_GE(report.streams_replaced, 1U);
  EXPECT_EQ(report.totals.bytes_done, report.totals.bytes_total);
  EXPECT_GE(report.totals.same_bytes, 18 * kMiB);
}

// What a peer that does not keep the rules tries with kSame.
class ForgedSame : public Resume {
 protected:
  void expect_refused(const FrameHeader& forged) {
    RunningReceiver receiver(receiver_options());
    HandSender sender(receiver.port(), key_);
    const HandDisk disk("a.vhdx");
    HandConnection stream = sender.start(disk);
    stream.send(forged);
    EXPECT_EQ(sender.expect_fail().code, static_cast<std::uint16_t>(Errc::kProtocol));
    EXPECT_FALSE(receiver.wait_for(ReceiverEvent::Type::kJobFailed).kept);
    EXPECT_EQ(names_in(target_), Names{}) << "of a peer that forges nothing is kept";
  }
};

TEST_F(ForgedSame, OfACellThatWasNotOfferedIsRefused) {
  expect_refused({.kind = FrameKind::kSame,
                  .virtual_offset = 0,
                  .raw_length = kCellBytes,
                  .hash = {.low = 1, .high = 2}});
}

TEST_F(ForgedSame, WithoutAHashIsRefused) {
  expect_refused({.kind = FrameKind::kSame, .virtual_offset = 0, .raw_length = kCellBytes});
}

TEST_F(ForgedSame, OfAnOfferedCellButWithAnotherHashOrTwiceIsRefused) {
  for (const int how : {0, 1, 2}) {
    SCOPED_TRACE(how);
    RunningReceiver receiver(receiver_options());
    const HandDisk disk("a.vhdx");
    {  // leaves a partial with one extent in it
      HandSender sender(receiver.port(), key_);
      HandConnection stream = sender.start(disk);
      const auto payload = payload_of(7);
      sender.send(stream, sender.data_frame(0, payload), payload);
      sender.wait_written(1);
    }
    receiver.wait_for(ReceiverEvent::Type::kJobFailed);
    ASSERT_EQ(names_in(target_), Names{"a.vhdx.partial"});
    HandSender sender(receiver.port(), key_);
    sender.connect();
    sender.hello();
    sender.offer({disk.offer});
    const auto plan = disk.plan.encoded();
    sender.control.send(PlanPart{.disk = 0, .first_byte = 0, .bytes = {plan.begin(), plan.end()}});
    sender.control.send(BeginDisk{.disk = 0});
    const HeldRange held{.offset = 0, .length = kMiB};
    EXPECT_EQ(sender.control.expect<HeldRanges>().ranges, std::vector<HeldRange>{held});
    EXPECT_EQ(sender.control.expect<DiskReady>().partial, PartialState::kResumed);
    sender.control.send(HashCredit{.disk = 0, .cells = 2});
    const CellHashes hashes = sender.control.expect<CellHashes>();
    ASSERT_EQ(hashes.hashes.size(), 2U);
    HandConnection stream = sender.join(sender.request_streams(1).front());
    FrameHeader same{.kind = FrameKind::kSame,
                     .virtual_offset = 0,
                     .raw_length = kCellBytes,
                     .hash = hashes.hashes[0]};
    if (how == 0) same.hash.low ^= 1;
    if (how == 1) stream.send(same);  // once is right
    if (how == 2) same.raw_length -= 512;
    stream.send(same);
    EXPECT_EQ(sender.expect_fail().code, static_cast<std::uint16_t>(Errc::kProtocol));
    receiver.wait_for(ReceiverEvent::Type::kJobFailed, 2);
    EXPECT_EQ(names_in(target_), Names{});
  }
}

TEST_F(Resume, PartialsAreListedAndRemovedUnlessInUse) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 8 * kMiB);
  const auto folder = Directory::open(target_.path()).value();
  EXPECT_TRUE(list_partials(*folder).value().empty());
  EXPECT_FALSE(std::filesystem::exists(target_ / kStateFolderName));
  RunningReceiver receiver(receiver_options());
  send_cut(disk, receiver.port(), 5 * kMiB);
  receiver.wait_for(ReceiverEvent::Type::kJobFailed);
  const auto partials = list_partials(*folder).value();
  ASSERT_EQ(partials.size(), 1U);
  EXPECT_EQ(partials[0].name, "a.vhdx");
  EXPECT_EQ(partials[0].id.size(), 32U);
  EXPECT_EQ(partials[0].virtual_bytes, 10 * kMiB);
  EXPECT_TRUE(partials[0].resumable);
  EXPECT_FALSE(partials[0].in_use);
  {
    const auto state = folder->open_or_make_folder(kStateFolderName).value();
    const auto held = JournalFile::claim(*state, "a.vhdx").value();
    EXPECT_TRUE(list_partials(*folder).value().at(0).in_use);
    EXPECT_TRUE(test::failed_with(remove_partial(*folder, partials[0]), Errc::kBusy, "a.vhdx"));
    EXPECT_TRUE(failed_as(send(one_stream(disk, receiver.port())), FailureClass::kNetwork));
  }
  EXPECT_EQ(names_in(target_), Names{"a.vhdx.partial"});
  EXPECT_TRUE(test::succeeded(remove_partial(*folder, partials[0])));
  EXPECT_EQ(names_in(target_), Names{});
  EXPECT_TRUE(list_partials(*folder).value().empty());
}

}  // namespace
}  // namespace vhdxm::transfer
