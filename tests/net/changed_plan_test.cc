// A send that broke and is run again after blocks of the source came or went, or the disk grew:
// what is still true of what had arrived is kept.

#include <fmt/format.h>

#include <atomic>
#include <filesystem>
#include <random>

#include "tests/net/resume_fixture.h"
#include "tests/net/system_calls.h"
#include "tests/support/random_seed.h"
#include "transfer/partials.h"

namespace vhdxm::transfer {
namespace {

using test::ModelDisk;
using test::Names;
using test::names_in;
using test::small_geometry;
using test::write_data_disk;
using test::write_disk;
using vhdx::kMiB;

/// Disks of one identity whose blocks come and go.
class ChangedPlan : public Resume {
 protected:
  static constexpr std::uint64_t kContent = 11;

  /// Data at [begin, end) of each, one content whatever else there is; nothing elsewhere.
  static ModelDisk with_data(std::uint64_t size_bytes, const std::vector<HeldRange>& data,
                             std::uint64_t content = kContent) {
    std::vector<test::Segment> segments;
    std::uint64_t at = 0;
    for (const HeldRange& range : data) {
      if (range.offset > at) segments.push_back({.offset = at, .length = range.offset - at});
      segments.push_back(
          {.offset = range.offset, .length = range.length, .kind = vhdx::ExtentKind::kData});
      at = range.end();
    }
    if (at < size_bytes) segments.push_back({.offset = at, .length = size_bytes - at});
    return {small_geometry(size_bytes), std::move(segments), content};
  }

  /// The source is this disk from now on.
  std::string write(const ModelDisk& model) {
    std::filesystem::remove(source_ / "a.vhdx");
    return write_disk(source_, "a.vhdx", model, [this](vhdx::Description& description) {
      description.virtual_disk_id = identity_;
    });
  }

  /// What was there is not on the wire again, but for cells at the edge of what came through.
  void expect_only_new(const JobReport& report, std::uint64_t kept_bytes) {
    EXPECT_TRUE(report.disks.at(0).resumed);
    EXPECT_EQ(report.totals.partials_replaced, 0U);
    EXPECT_EQ(report.totals.same_bytes, kept_bytes);
    EXPECT_LE(report.totals.wire_bytes, report.totals.bytes_total - report.totals.same_bytes +
                                            report.frames * kFrameHeaderBytes);
  }

  std::uint64_t held_now(RunningReceiver& receiver) {
    receiver.wait_for(ReceiverEvent::Type::kJobFailed, ++cuts_);
    std::shared_ptr<PosixFile> file = PosixFile::open(target_ / "a.vhdx.partial", {}).value();
    std::uint64_t bytes = 0;
    for (std::uint64_t at = 0;;) {
      const auto run = file->next_data(at).value();
      if (run.begin == run.end) return bytes;
      bytes += run.end - run.begin;
      at = run.end;
    }
  }

  /// Whether what was put aside takes up room: by its name, or because somebody has it open.
  bool former_takes_room() const {
    const std::string former =
        target_ / kStateFolderName + "/" + JournalFile::former_name("a.vhdx");
    if (std::filesystem::exists(former)) return true;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const auto file = std::filesystem::read_symlink(entry.path(), gone).string();
      if (file.starts_with(former)) return true;
    }
    return false;
  }

  const Guid identity_ = Guid::random();
  std::size_t cuts_ = 0;
};

TEST_F(ChangedPlan, BlocksThatCameAreAllThatIsSent) {
  RunningReceiver receiver(receiver_options());
  std::string disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 8 * kMiB}}));
  send_cut(disk, receiver.port(), 5 * kMiB);
  const std::uint64_t held = held_now(receiver);
  EXPECT_GE(held, kMiB);
  disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 8 * kMiB},
                                     {.offset = 10 * kMiB, .length = 3 * kMiB},
                                     {.offset = 20 * kMiB, .length = kMiB}}));
  expect_only_new(send_again(disk, one_stream(disk, receiver.port())), held);
}

TEST_F(ChangedPlan, BlocksThatWentAndCellsThatChangedDoNotSpoilTheOthers) {
  RunningReceiver receiver(receiver_options());
  std::string disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 9 * kMiB}}));
  send_cut(disk, receiver.port(), 8 * kMiB);
  const std::uint64_t held = held_now(receiver);
  ASSERT_GE(held, 4 * kMiB);
  disk = write(with_data(
      24 * kMiB, {{.offset = 0, .length = kMiB}, {.offset = 2 * kMiB, .length = 9 * kMiB}}));
  overwrite(disk, 3 * kMiB + 512, std::vector<std::byte>(512, std::byte{0xab}));
  SenderOptions options = one_stream(disk, receiver.port());
  options.verify = true;
  expect_only_new(send_again(disk, options), held - kMiB - kCellBytes);
}

TEST_F(ChangedPlan, ADiskThatGrewKeepsWhatItHad) {
  RunningReceiver receiver(receiver_options());
  const std::uint64_t size = 12 * kMiB + 3 * 512;  // the last cell is short, and later it is not
  std::string disk = write(with_data(size, {{.offset = 0, .length = 8 * kMiB}}));
  send_cut(disk, receiver.port(), 6 * kMiB);
  const std::uint64_t held = held_now(receiver);
  disk = write(with_data(
      40 * kMiB, {{.offset = 0, .length = 8 * kMiB}, {.offset = 12 * kMiB, .length = 2 * kMiB}}));
  expect_only_new(send_again(disk, one_stream(disk, receiver.port())), held);
}

TEST_F(ChangedPlan, NothingIsLostWhenItBreaksAgain) {
  RunningReceiver receiver(receiver_options());
  std::string disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 9 * kMiB}}));
  send_cut(disk, receiver.port(), 8 * kMiB);
  const std::uint64_t held = held_now(receiver);
  disk = write(with_data(
      24 * kMiB, {{.offset = 0, .length = 9 * kMiB}, {.offset = 12 * kMiB, .length = 6 * kMiB}}));
  // What is new goes first, some of it and perhaps some of what is there: both are there then.
  send_cut(disk, receiver.port(), 3 * kMiB);
  receiver.wait_for(ReceiverEvent::Type::kJobFailed, ++cuts_);
  const JobReport report = send_again(disk, one_stream(disk, receiver.port()));
  EXPECT_GE(report.totals.same_bytes, held);
  EXPECT_EQ(report.totals.same_bytes, report.totals.resumed_bytes);
}

TEST_F(ChangedPlan, OfTwoThatWereLeftTheFullerOneIsKept) {
  RunningReceiver receiver(receiver_options());
  std::string disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 9 * kMiB}}));
  send_cut(disk, receiver.port(), 8 * kMiB);
  const std::uint64_t held = held_now(receiver);
  for (std::uint64_t more = 1; more < 4; ++more) {
    disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 9 * kMiB},
                                       {.offset = 12 * kMiB, .length = more * kMiB}}));
    send_cut(disk, receiver.port(), 700);  // before anything came
    receiver.wait_for(ReceiverEvent::Type::kJobFailed, ++cuts_);
  }
  disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 10 * kMiB}}));
  expect_only_new(send_again(disk, one_stream(disk, receiver.port())), held);
}

// The receiver may die between any two of the steps that put a partial aside.
TEST_F(ChangedPlan, ACrashWhileItIsPutAsideCostsNothing) {
  const std::string state = target_ / kStateFolderName;
  const std::string partial = target_ / "a.vhdx.partial";
  const std::string former = state + "/" + JournalFile::former_name("a.vhdx");
  for (const int step : {0, 1, 2, 3}) {
    SCOPED_TRACE(step);
    RunningReceiver receiver(receiver_options());
    cuts_ = 0;
    std::string disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 9 * kMiB}}));
    send_cut(disk, receiver.port(), 8 * kMiB);
    const std::uint64_t held = held_now(receiver);
    disk = write(with_data(
        24 * kMiB, {{.offset = 0, .length = 9 * kMiB}, {.offset = 12 * kMiB, .length = kMiB}}));
    if (step > 0) {
      send_cut(disk, receiver.port(), 700);
      receiver.wait_for(ReceiverEvent::Type::kJobFailed, ++cuts_);
      ASSERT_TRUE(std::filesystem::exists(former));
    }
    // Renamed, and the journal speaks of the one partial still.
    if (step == 0) std::filesystem::rename(partial, former);
    // The journal speaks of both, and the new one was not made, or not completely.
    if (step == 1) std::filesystem::remove(partial);
    if (step == 2) std::filesystem::resize_file(partial, 0);
    // All was there, and power was lost after the disk was sealed.
    if (step == 3) std::filesystem::rename(former, source_ / "kept");
    const JobReport report = send_again(disk, one_stream(disk, receiver.port()));
    if (step < 3) {
      EXPECT_EQ(report.totals.same_bytes, held);
    } else {
      // Of the new one a frame may have come before the cut.
      EXPECT_LE(report.totals.same_bytes, kMiB);
      EXPECT_LT(report.totals.same_bytes, held);
    }
    std::filesystem::remove(target_ / "a.vhdx");
  }
}

TEST_F(ChangedPlan, WithoutRoomForBothTheOldOneIsGivenUp) {
  RunningReceiver receiver(receiver_options());
  std::string disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 9 * kMiB}}));
  send_cut(disk, receiver.port(), 8 * kMiB);
  ASSERT_GE(held_now(receiver), 4 * kMiB);
  disk = write(with_data(24 * kMiB, {{.offset = kMiB, .length = 9 * kMiB}}));
  std::atomic<int> refused{0};
  {
    const test::FullDisk full([&] {
      const bool is_full = former_takes_room();
      if (is_full) ++refused;
      return is_full;
    });
    send_cut(disk, receiver.port(), 8 * kMiB);
  }
  EXPECT_EQ(refused, 1) << "then there was room";
  EXPECT_FALSE(former_takes_room());
  // What was begun then is gone on with as any other.
  const std::uint64_t held = held_now(receiver);
  ASSERT_GE(held, 4 * kMiB);
  expect_only_new(send_again(disk, one_stream(disk, receiver.port())), held);
}

TEST_F(ChangedPlan, WithoutRoomForBothTheDiskIsSentAnew) {
  RunningReceiver receiver(receiver_options());
  std::string disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 9 * kMiB}}));
  send_cut(disk, receiver.port(), 8 * kMiB);
  receiver.wait_for(ReceiverEvent::Type::kJobFailed);
  disk = write(with_data(24 * kMiB, {{.offset = kMiB, .length = 9 * kMiB}}));
  const test::FullDisk full([this] { return former_takes_room(); });
  SenderOptions options = one_stream(disk, receiver.port());
  options.verify = true;
  const JobReport report = send_again(disk, options);
  EXPECT_FALSE(report.disks.at(0).resumed);
  EXPECT_EQ(report.totals.partials_replaced, 1U);
  EXPECT_EQ(report.totals.same_bytes, 0U);
}

TEST_F(ChangedPlan, WithNoRoomAtAllNothingIsLeftInTheWay) {
  RunningReceiver receiver(receiver_options());
  std::string disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 9 * kMiB}}));
  send_cut(disk, receiver.port(), 8 * kMiB);
  receiver.wait_for(ReceiverEvent::Type::kJobFailed);
  disk = write(with_data(24 * kMiB, {{.offset = kMiB, .length = 9 * kMiB}}));
  {
    const test::FullDisk full([] { return true; });
    EXPECT_TRUE(failed_as(send(one_stream(disk, receiver.port())), FailureClass::kIncompatible,
                          "No space left"));
    receiver.wait_for(ReceiverEvent::Type::kJobFailed, 2);
  }
  EXPECT_EQ(names_in(target_), Names{});
  EXPECT_EQ(send_again(disk, one_stream(disk, receiver.port())).totals.partials_replaced, 0U);
}

TEST_F(ChangedPlan, WhatWasPutAsideIsListedAndRemoved) {
  RunningReceiver receiver(receiver_options());
  std::string disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 9 * kMiB}}));
  send_cut(disk, receiver.port(), 8 * kMiB);
  const std::uint64_t held = held_now(receiver);
  disk = write(with_data(24 * kMiB, {{.offset = kMiB, .length = 9 * kMiB}}));
  send_cut(disk, receiver.port(), 700);
  receiver.wait_for(ReceiverEvent::Type::kJobFailed, ++cuts_);
  const auto folder = Directory::open(target_.path()).value();
  const auto partials = list_partials(*folder).value();
  ASSERT_EQ(partials.size(), 1U);
  EXPECT_GE(partials[0].held_bytes, held + 9 * kMiB) << "the new one has its room";
  EXPECT_TRUE(test::succeeded(remove_partial(*folder, partials[0])));
  EXPECT_EQ(names_in(target_), Names{});
  EXPECT_TRUE(std::filesystem::is_empty(target_ / kStateFolderName));
}

TEST_F(ChangedPlan, AnotherContentOfTheSameIdentityIsSentAnew) {
  RunningReceiver receiver(receiver_options());
  std::string disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 8 * kMiB}}));
  send_cut(disk, receiver.port(), 5 * kMiB);
  disk = write(with_data(24 * kMiB, {{.offset = 0, .length = 9 * kMiB}}, kContent + 1));
  EXPECT_EQ(send_again(disk, one_stream(disk, receiver.port())).totals.same_bytes, 0U);
}

TEST_F(ChangedPlan, RandomLayersWhoseSegmentsChange) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  RunningReceiver receiver(receiver_options());
  const std::string base = write_data_disk(source_, "base.vhdx", 1);
  ASSERT_TRUE(succeeded(send(one_stream(base, receiver.port()))));
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(round);
    vhdx::Geometry geometry = small_geometry(8 * kMiB);
    if (round % 2 == 0) geometry.type = vhdx::DiskType::kDifferencing;
    const bool child = geometry.type == vhdx::DiskType::kDifferencing;
    const auto first = ModelDisk::random(geometry, random, 6 * kMiB).segments();
    std::string disk;
    for (const bool changed : {false, true}) {
      std::vector<test::Segment> segments = first;
      for (test::Segment& segment : segments) {
        if (!changed || random() % 3 != 0) continue;
        segment.zero_bytes = false;
        segment.kind = segment.kind != vhdx::ExtentKind::kData ? vhdx::ExtentKind::kData
                       : child                                 ? vhdx::ExtentKind::kParent
                                                               : vhdx::ExtentKind::kUnmapped;
      }
      const ModelDisk model(geometry, segments, kContent);
      const std::string name = fmt::format("{}.vhdx", round);
      std::filesystem::remove(source_ / name);
      disk =
          child ? test::write_child(source_, name, model, base) : write_disk(source_, name, model);
      if (changed) break;
      using Kind = test::ProxyFault::Kind;
      const std::uint64_t at = random() % (5 * kMiB);
      const test::TcpProxy proxy(receiver.port(), [at](std::size_t connection) {
        if (connection == 0) return test::ProxyRule{};
        return test::ProxyRule{.up = {.kind = Kind::kCut, .after_bytes = connection == 1 ? at : 0}};
      });
      if (send(one_stream(disk, proxy.port())).has_value()) {
        std::filesystem::remove(target_ / name);  // there was less than that
      }
    }
    SenderOptions options = sender_options(disk, receiver.port());
    options.verify = true;
    const JobReport report = send_again(disk, options);
    EXPECT_EQ(report.totals.bytes_done, report.totals.bytes_total);
  }
}

}  // namespace
}  // namespace vhdxm::transfer
