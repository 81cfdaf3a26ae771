// Moves of disks that somebody writes to all the time, over loopback: what was acknowledged to the
// guest is there afterwards, and whatever goes wrong before the release, the guest goes on.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "tests/net/live_guest.h"
#include "tests/net/live_moves.h"
#include "tests/net/tcp_proxy.h"
#include "tests/support/cached_pages.h"
#include "tests/support/expect_error.h"
#include "tests/support/sample_data.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using test::data_disk;
using test::Names;
using test::names_in;
using test::small_geometry;
using test::write_disk;
using vhdx::kMiB;
using State = CutoverSource::State;

TEST_F(LiveMoves, DiskMovesWhileItIsWritten) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  guest.start(2, 20 * kMiB);
  LiveSender sender(options_for({{disk, "a.vhdx"}}, receiver.port()), cutover_);
  const auto result = sender.run();
  ASSERT_TRUE(succeeded(result));
  EXPECT_EQ(sender.outcome(), State::kOwned);
  guest.join();
  EXPECT_EQ(guest.refused(), 2U) << "each writer is told once";
  EXPECT_EQ(guest.errors(), 0U);
  EXPECT_GT(guest.writes(), 0U);
  EXPECT_EQ(names_in(target_), Names{"a.vhdx"});
  expect_disk(target_ / "a.vhdx", guest.content());
  const LiveProgress live = sender.live_progress();
  EXPECT_EQ(live.phase, LivePhase::kOwned);
  ASSERT_GE(live.passes.size(), 3U);
  EXPECT_TRUE(live.passes.back().held);
  EXPECT_EQ(live.passes.back().dirty_bytes, 0U);
  EXPECT_TRUE(live.pause.has_value());
  EXPECT_EQ(gate_->state(), WriteGate::State::kFenced);
  EXPECT_EQ(receiver.count(ReceiverEvent::Type::kDiskArrived), 1U);
}

TEST_F(LiveMoves, WhatIsColdAtTheSourceStaysSo) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  const auto file = PosixFile::open(source_ / "a.vhdx", {}).value();
  const auto bytes = static_cast<std::size_t>(file->size().value());
  if (!test::drop_cached(file->fd(), bytes)) {
    GTEST_SKIP() << "this file system keeps all in its cache";
  }
  LiveSenderOptions options = options_for({{disk, "a.vhdx"}}, receiver.port());
  options.sender.verify = true;  // it reads it twice
  LiveSender sender(options, cutover_);
  ASSERT_TRUE(succeeded(sender.run()));
  const std::size_t cached = test::cached_pages(file->fd(), 0, bytes);
  EXPECT_LT(cached * 4096, 2 * kMiB) << "its tables, and nothing of 10 MiB of data";
}

TEST_F(LiveMoves, DisksOfOneGateMoveTogether) {
  RunningReceiver receiver(live_receiver_options());
  std::vector<MovingDisk> disks;
  std::vector<std::unique_ptr<LiveGuest>> guests;
  for (const char* name : {"a.vhdx", "b.vhdx", "c.vhdx"}) {
    disks.push_back({make(name), fmt::format("moved-{}", name)});
    guests.push_back(std::make_unique<LiveGuest>(disks.back().disk, random_()));
  }
  guests[0]->start(1, 8 * kMiB);
  guests[2]->start(1, 24 * kMiB);  // nobody writes to b
  LiveSender sender(options_for(disks, receiver.port()), cutover_);
  ASSERT_TRUE(succeeded(sender.run()));
  for (std::size_t i = 0; i < disks.size(); ++i) {
    guests[i]->join();
    EXPECT_EQ(guests[i]->errors(), 0U);
    expect_disk(target_ / disks[i].name, guests[i]->content());
  }
  EXPECT_EQ(names_in(target_), (Names{"moved-a.vhdx", "moved-b.vhdx", "moved-c.vhdx"}));
}

TEST_F(LiveMoves, EveryKindOfDisk) {
  struct Case {
    const char* name;
    vhdx::Geometry geometry;
  };
  std::vector<Case> cases = {{"fixed.vhdx", small_geometry(6 * kMiB)},
                             {"4k.vhdx", small_geometry(9 * kMiB)},
                             {"odd.vhdx", small_geometry(5 * kMiB + 512)},
                             {"blocks.vhdx", small_geometry(70 * kMiB)}};
  cases[0].geometry.type = vhdx::DiskType::kFixed;
  cases[1].geometry.logical_sector_bytes = 4096;
  cases[3].geometry.block_bytes = 32 << 20;
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    RunningReceiver receiver(live_receiver_options());
    const auto gate = std::make_shared<SharedGate>();
    PlainSource cutover(*gate);
    const std::string path = write_disk(source_, one.name, data_disk(one.geometry, 2 * kMiB, 5));
    auto opened = LiveDisk::open(path, gate, {});
    ASSERT_TRUE(test::succeeded(opened));
    const std::shared_ptr<LiveDisk> disk = std::move(*opened);
    LiveGuest guest(disk, random_());
    guest.start(2, disk->size_bytes());
    LiveSender sender(options_for({{disk, one.name}}, receiver.port()), cutover);
    ASSERT_TRUE(succeeded(sender.run()));
    guest.join();
    expect_disk(target_ / one.name, guest.content());
  }
}

TEST_F(LiveMoves, StreamsThatBreakLoseNothing) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  // The first streams break in the first pass, the next ones in passes after it.
  const test::TcpProxy proxy(receiver.port(), [](std::size_t connection) {
    if (connection == 0 || connection > 8) return test::ProxyRule{};
    return test::ProxyRule{
        .up = {.kind = test::ProxyFault::Kind::kCut, .after_bytes = connection * 700'000}};
  });
  LiveGuest guest(disk, seed_);
  guest.start(2, 20 * kMiB);
  LiveSenderOptions options = options_for({{disk, "a.vhdx"}}, proxy.port());
  options.sender.streams = 2;
  options.sender.extent_bytes = kCellBytes;
  options.sender.mode = Mode::kPlain;
  options.limits.hold_when_ready = false;
  LiveSender* running = nullptr;
  // Until all that are to break have: control, two streams, and one for each that broke.
  LiveSender sender(options, cutover_, [&](const Progress&, const LiveProgress&) {
    if (proxy.connection_count() > 10) running->cut_over();
  });
  running = &sender;
  const auto result = sender.run();
  ASSERT_TRUE(succeeded(result));
  EXPECT_EQ(result->streams_replaced, 8U);
  guest.join();
  EXPECT_EQ(guest.errors(), 0U);
  expect_disk(target_ / "a.vhdx", guest.content());
}

TEST_F(LiveMoves, ABrokenControlConnectionLeavesTheGuestInPeaceAndIsResumed) {
  RunningReceiver receiver(live_receiver_options());
  // Without the foreign metadata that example disks have: it would make the offer long.
  const auto disk =
      open(write_disk(source_, "a.vhdx", data_disk(small_geometry(24 * kMiB), 10 * kMiB, random_()),
                      [](vhdx::Description& one) { one.opaque_items.clear(); }));
  LiveGuest guest(disk, seed_);
  guest.start(1, 4 * kMiB);  // what is behind it is the same in the end
  // What control says before the first pass, in it, and in later ones.
  std::string last;
  std::size_t jobs = 0;
  for (const std::uint64_t bytes : std::vector<std::uint64_t>{900, 1400, 2000, 3500}) {
    SCOPED_TRACE(bytes);
    const test::TcpProxy proxy(receiver.port(), [bytes](std::size_t connection) {
      if (connection > 0) return test::ProxyRule{};
      return test::ProxyRule{.up = {.kind = test::ProxyFault::Kind::kCut, .after_bytes = bytes}};
    });
    LiveSenderOptions options = options_for({{disk, "a.vhdx"}}, proxy.port());
    options.limits.hold_when_ready = false;  // it does not end by itself
    PlainSource cutover(*gate_);
    LiveSender sender(options, cutover);
    const auto result = sender.run();
    EXPECT_TRUE(failed_as(result, FailureClass::kNetwork));
    EXPECT_EQ(sender.outcome(), State::kVoid);
    EXPECT_EQ(gate_->state(), WriteGate::State::kOpen);
    // The next one finds the disk let go.
    const ReceiverEvent over = receiver.wait_for(ReceiverEvent::Type::kJobFailed, ++jobs);
    if (result.has_error() && over.failure) {
      last = fmt::format("pass {}; sender: {}; receiver: {}", sender.live_progress().pass,
                         result.error().message, over.failure->message);
    }
  }
  EXPECT_EQ(names_in(target_), Names{"a.vhdx.partial"}) << last;
  LiveSender again(options_for({{disk, "a.vhdx"}}, receiver.port()), cutover_);
  const auto result = again.run();
  ASSERT_TRUE(succeeded(result));
  EXPECT_TRUE(result->disks.at(0).resumed);
  EXPECT_GT(result->totals.same_bytes, 0U);
  guest.join();
  EXPECT_EQ(guest.errors(), 0U);
  expect_disk(target_ / "a.vhdx", guest.content());
}

TEST_F(LiveMoves, CancelledAtEveryStage) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  guest.start(1, 12 * kMiB);
  for (const LivePhase phase : {LivePhase::kCopying, LivePhase::kPasses, LivePhase::kWaiting,
                                LivePhase::kHeld, LivePhase::kHandover}) {
    SCOPED_TRACE(to_string(phase));
    deaf_ = phase == LivePhase::kHandover ? 1 : 0;  // or it may be over too soon
    LiveSenderOptions options = options_for({{disk, "a.vhdx"}}, receiver.port());
    options.limits.hold_when_ready = phase != LivePhase::kWaiting;
    PlainSource cutover(*gate_);
    LiveSender* running = nullptr;
    LiveSender sender(options, cutover, [&](const Progress&, const LiveProgress& live) {
      if (live.phase == phase) running->cancel();
    });
    running = &sender;
    EXPECT_TRUE(failed_as(sender.run(), FailureClass::kCancelled));
    EXPECT_EQ(sender.outcome(), State::kVoid);
    EXPECT_EQ(gate_->state(), WriteGate::State::kOpen);
    EXPECT_EQ(gate_->throttled_to(), 0U);
  }
  const std::uint64_t before = guest.writes();
  while (guest.writes() == before) std::this_thread::yield();
  guest.stop();
  EXPECT_EQ(guest.refused() + guest.errors(), 0U);
  const Names left = names_in(target_);
  EXPECT_TRUE(left.empty() || left == Names{"a.vhdx.partial"});
}

TEST_F(LiveMoves, AReceiverThatDiesLeavesTheGuestInPeace) {
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  guest.start(1, 12 * kMiB);
  for (const LivePhase phase : {LivePhase::kPasses, LivePhase::kHeld, LivePhase::kHandover}) {
    SCOPED_TRACE(to_string(phase));
    deaf_ = 1;
    RunningReceiver receiver(live_receiver_options());
    PlainSource cutover(*gate_);
    LiveSender sender(options_for({{disk, "a.vhdx"}}, receiver.port()), cutover,
                      [&](const Progress&, const LiveProgress& live) {
                        if (live.phase == phase) receiver.ask_to_stop();
                      });
    EXPECT_TRUE(sender.run().has_error());
    EXPECT_EQ(sender.outcome(), State::kVoid);
    EXPECT_EQ(gate_->state(), WriteGate::State::kOpen);
  }
  guest.stop();
  EXPECT_EQ(guest.refused() + guest.errors(), 0U);
}

TEST_F(LiveMoves, AnAttemptThatIsNotAnsweredIsGivenUpAndMadeAgain) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  guest.start(1, 12 * kMiB);
  deaf_ = 1;
  LiveSenderOptions options = options_for({{disk, "a.vhdx"}}, receiver.port());
  options.limits.max_pause = 2s;
  LiveSender* running = nullptr;
  LiveSender sender(options, cutover_, [&](const Progress&, const LiveProgress& live) {
    if (live.holds_failed > 0) running->set_max_pause(20s);
  });
  running = &sender;
  ASSERT_TRUE(succeeded(sender.run()));
  EXPECT_GE(cutover_.attempts, 2U);
  EXPECT_GE(sender.live_progress().holds_failed, 1U);
  guest.join();
  EXPECT_EQ(guest.errors(), 0U);
  expect_disk(target_ / "a.vhdx", guest.content());
}

TEST_F(LiveMoves, AShorterPauseHoldsForWritesThatWait) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  deaf_ = 1;
  LiveSenderOptions options = options_for({{disk, "a.vhdx"}}, receiver.port());
  options.limits.max_pause = 24h;  // nobody used the disk; then somebody does
  LiveSender* running = nullptr;
  LiveSender sender(options, cutover_, [&](const Progress&, const LiveProgress& live) {
    if (live.holds_failed > 0) return running->set_max_pause(20s);
    if (live.phase == LivePhase::kHandover) running->set_max_pause(1ms);
  });
  running = &sender;
  ASSERT_TRUE(succeeded(sender.run()));
  EXPECT_GE(cutover_.attempts, 2U);
  EXPECT_GE(sender.live_progress().holds_failed, 1U);
  expect_disk(target_ / "a.vhdx", guest.content());
}

TEST_F(LiveMoves, TheModeIsSetWhileItRuns) {
  RunningReceiver receiver(live_receiver_options());
  for (const auto& [first, then] :
       {std::pair(Mode::kCompress, Mode::kPlain), std::pair(Mode::kAuto, Mode::kCompress),
        std::pair(Mode::kPlain, Mode::kCompress)}) {
    const Mode begun = first;  // lambdas want variables
    const Mode set = then;
    SCOPED_TRACE(fmt::format("{}, then {}", to_string(begun), to_string(set)));
    const std::string name = fmt::format("{}.vhdx", to_string(begun));
    const auto gate = std::make_shared<SharedGate>();
    const std::shared_ptr<LiveDisk> disk =
        LiveDisk::open(write_disk(source_, name, data_disk(small_geometry(24 * kMiB), 0, 1)), gate,
                       {})
            .value();
    const auto write_text = [&disk](std::uint64_t offset) {
      const auto text = test::sample_data(test::SampleKind::kText, 2 * kMiB, offset);
      EXPECT_TRUE(test::succeeded(disk->write(offset, text, LiveDisk::Durability::kAtFlush)));
    };
    write_text(4 * kMiB);
    LiveSenderOptions options = options_for({{disk, name}}, receiver.port());
    options.sender.mode = begun;
    options.limits.hold_when_ready = false;
    PlainSource cutover(*gate);
    std::optional<std::uint64_t> saved;
    LiveSender* running = nullptr;
    LiveSender sender(options, cutover, [&](const Progress& progress, const LiveProgress& live) {
      if (live.phase != LivePhase::kWaiting || saved) return;
      saved = progress.compressed_bytes;
      running->set_mode(set);
      write_text(12 * kMiB);
      running->cut_over();
    });
    running = &sender;
    if (begun == Mode::kAuto) sender.set_mode(Mode::kPlain);  // it is told early enough
    const auto result = sender.run();
    ASSERT_TRUE(succeeded(result));
    EXPECT_EQ(*saved > 0, begun == Mode::kCompress);
    EXPECT_EQ(result->totals.compressed_bytes > *saved, begun == Mode::kAuto);
    EXPECT_EQ(result->compression.asked, begun == Mode::kPlain ? Mode::kPlain : set);
    LiveGuest reader(disk, seed_);
    expect_disk(target_ / name, reader.content());
  }
}

TEST_F(LiveMoves, AGuestFasterThanTheLinkEndsItHonestly) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  guest.start(1, 20 * kMiB);
  LiveSenderOptions options = options_for({{disk, "a.vhdx"}}, receiver.port());
  options.limits.max_pause = 1us;  // nothing can be as short as this
  options.limits.stall = 1ms;
  options.limits.throttle_steps_max = 2;
  LiveSender sender(options, cutover_);
  const auto result = sender.run();
  ASSERT_TRUE(failed_as(result, FailureClass::kFailed, "Nothing was handed over"));
  EXPECT_EQ(result.error().error.code, Errc::kNotConverging);
  EXPECT_EQ(cutover_.attempts, 0U) << "the promise: it is not held when it does not fit";
  EXPECT_FALSE(sender.live_progress().pause.has_value());
  EXPECT_EQ(sender.outcome(), State::kVoid);
  EXPECT_EQ(gate_->throttled_to(), 0U);
  guest.stop();
  EXPECT_EQ(guest.refused() + guest.errors(), 0U);
}

// What they write to does not fit the pause at the job's rate, and they are faster than that.
class FastWriters {
 public:
  static constexpr std::uint64_t kBytes = 10 * kMiB;
  static constexpr std::uint64_t kEach = 64 * 1024;

  explicit FastWriters(const std::shared_ptr<LiveDisk>& disk) : guest(disk, 1) {
    for (std::uint64_t half = 0; half < 2; ++half) {
      threads_.emplace_back([this, half] {
        for (std::uint64_t at = 0; !stopping_ && guest.refused() + guest.errors() == 0;
             at = (at + kEach) % (kBytes / 2)) {
          guest.write(half * kBytes / 2 + at, kEach);
        }
      });
    }
  }
  ~FastWriters() { stop(); }
  FastWriters(const FastWriters&) = delete;
  FastWriters& operator=(const FastWriters&) = delete;
  void stop() {
    stopping_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  static LiveSenderOptions slow_link(LiveSenderOptions options) {
    options.sender.limit_bytes_per_second = 16 * kMiB;
    options.sender.mode = Mode::kPlain;
    options.limits.max_pause = 200ms;
    options.limits.hopeless = 1ms;
    options.limits.throttle_steps_max = 0;
    // What a shared processor does to a hold, or to an answer, is of no matter here.
    options.limits.stall = 1h;
    options.limits.holds_max = 1000;
    options.limits.mirror_starts_max = 1000;
    return options;
  }

  LiveGuest guest;

 private:
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

TEST_F(LiveMoves, GuestsFasterThanTheLinkConvergeByMirroredWrites) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = open(write_disk(source_, "a.vhdx", data_disk(small_geometry(24 * kMiB), 0, 1)));
  FastWriters writers(disk);
  LiveSender sender(FastWriters::slow_link(options_for({{disk, "a.vhdx"}}, receiver.port())),
                    cutover_);
  ASSERT_TRUE(succeeded(sender.run()));
  writers.stop();
  EXPECT_EQ(writers.guest.errors(), 0U);
  expect_disk(target_ / "a.vhdx", writers.guest.content());
  const LiveProgress live = sender.live_progress();
  EXPECT_GT(live.mirrored_writes, 0U);
  EXPECT_GE(live.mirrored_bytes, live.mirrored_writes * FastWriters::kEach);
  EXPECT_FALSE(live.mirroring) << "not while writes are held, and after that";
  EXPECT_TRUE(std::any_of(live.passes.begin(), live.passes.end(), [](const PassReport& pass) {
    return pass.mirrored_bytes > 0 && pass.mirrored_bytes < pass.sent_bytes;
  })) << "and the background copy goes on";
}

TEST_F(LiveMoves, WithoutMirroredWritesThatEndsHonestly) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = open(write_disk(source_, "a.vhdx", data_disk(small_geometry(24 * kMiB), 0, 1)));
  FastWriters writers(disk);
  LiveSenderOptions options =
      FastWriters::slow_link(options_for({{disk, "a.vhdx"}}, receiver.port()));
  options.limits.mirror = Convergence::Mirror::kNever;
  LiveSender sender(options, cutover_);
  const auto result = sender.run();
  ASSERT_TRUE(failed_as(result, FailureClass::kFailed, "Nothing was handed over"));
  EXPECT_EQ(result.error().error.code, Errc::kNotConverging);
  EXPECT_EQ(sender.live_progress().mirrored_writes, 0U);
  EXPECT_EQ(cutover_.attempts, 0U);
  writers.stop();
  EXPECT_EQ(writers.guest.refused() + writers.guest.errors(), 0U);
}

// Streams break all the time, and writes wait for what was on them.
TEST_F(LiveMoves, MirroredFromTheSecondPassOnWhileStreamsBreak) {
  RunningReceiver receiver(live_receiver_options());
  test::TcpProxy proxy(receiver.port(), [](std::size_t connection) {
    test::ProxyRule rule;
    if (connection > 0 && connection < 8) {
      rule.up = {.kind = test::ProxyFault::Kind::kCut, .after_bytes = kMiB * connection};
    }
    return rule;
  });
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  guest.start(2, 20 * kMiB);
  LiveSenderOptions options = options_for({{disk, "a.vhdx"}}, proxy.port());
  options.sender.mode = Mode::kPlain;
  options.limits.mirror = Convergence::Mirror::kAlways;
  options.limits.hold_when_ready = false;
  LiveSender* running = nullptr;
  LiveSender sender(options, cutover_, [&](const Progress&, const LiveProgress& live) {
    if (live.mirrored_writes >= 100) running->cut_over();
  });
  running = &sender;
  const auto result = sender.run();
  ASSERT_TRUE(succeeded(result));
  guest.join();
  EXPECT_EQ(guest.errors(), 0U);
  EXPECT_GE(sender.live_progress().mirrored_writes, 100U);
  EXPECT_GT(result->streams_replaced, 0U);
  expect_disk(target_ / "a.vhdx", guest.content());
}

// A partition must not hang the guest: what is not answered is acknowledged here.
TEST_F(LiveMoves, AnAnswerThatNeverComesLetsMirroredWritesGo) {
  RunningReceiver receiver(live_receiver_options());
  // Data streams are taken and never passed on once the first passes are through.
  test::TcpProxy proxy(receiver.port(), [](std::size_t connection) {
    test::ProxyRule rule;
    if (connection > 0) {
      rule.up = {.kind = test::ProxyFault::Kind::kStall, .after_bytes = 6 * kMiB};
    }
    return rule;
  });
  const auto disk = open(write_disk(source_, "a.vhdx", data_disk(small_geometry(24 * kMiB), 0, 1)));
  LiveGuest guest(disk, seed_);
  guest.start(1, 20 * kMiB);
  LiveSenderOptions options = options_for({{disk, "a.vhdx"}}, proxy.port());
  options.limits.mirror = Convergence::Mirror::kAlways;
  options.limits.hold_when_ready = false;
  options.limits.max_pause = 200ms;
  options.limits.stall = options.limits.hopeless = 1h;
  LiveSender* running = nullptr;
  std::optional<std::uint64_t> written;
  LiveSender sender(options, cutover_, [&](const Progress&, const LiveProgress& live) {
    if (live.mirroring || live.mirrored_writes == 0) return;
    if (!written) written = guest.writes();
    if (guest.writes() > *written + 10) running->cancel();
  });
  running = &sender;
  EXPECT_TRUE(failed_as(sender.run(), FailureClass::kCancelled));
  const LiveProgress live = sender.live_progress();
  EXPECT_GT(live.mirrored_writes, 0U);
  EXPECT_GT(live.mirrored_left, 0U);
  guest.stop();
  EXPECT_EQ(guest.refused() + guest.errors(), 0U);
}

// An account of its own: the pages that were dirtied between two passes, each once.
TEST_F(LiveMoves, WhatIsSentAgainIsWhatWasDirtied) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  LiveSenderOptions options = options_for({{disk, "a.vhdx"}}, receiver.port());
  options.limits.hold_when_ready = false;
  std::map<std::uint32_t, std::set<std::uint64_t>> dirtied;  // By the pass that must bring them.
  LiveSender* running = nullptr;
  LiveSender sender(options, cutover_, [&](const Progress&, const LiveProgress& live) {
    // Called before the pass begins, and on the thread that begins it.
    if (live.phase != LivePhase::kPasses || dirtied.contains(live.pass)) return;
    if (live.pass == 8) running->cut_over();
    std::set<std::uint64_t>& pages = dirtied[live.pass];
    if (live.pass >= 8) return;
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t page = random_() % 2000 % (1 + random_() % 2000);
      const std::uint64_t count = 1 + random_() % 3;
      guest.write(page * kDirtyPageBytes, count * kDirtyPageBytes);
      for (std::uint64_t one = page; one < page + count; ++one) pages.insert(one);
    }
  });
  running = &sender;
  const auto result = sender.run();
  ASSERT_TRUE(succeeded(result));
  std::uint64_t unique_bytes = 0;
  std::uint64_t sent_bytes = 0;
  for (const PassReport& report : sender.live_progress().passes) {
    if (report.pass == 1) continue;
    SCOPED_TRACE(report.pass);
    const std::uint64_t unique = dirtied[report.pass].size() * kDirtyPageBytes;
    EXPECT_EQ(report.sent_bytes, unique);
    unique_bytes += unique;
    sent_bytes += report.sent_bytes;
  }
  EXPECT_GT(unique_bytes, 0U);
  EXPECT_LE(static_cast<double>(sent_bytes), 1.05 * static_cast<double>(unique_bytes));
  // The whole job: the disk once, and these; what was zero or dirty does not count twice.
  EXPECT_LE(result->totals.wire_bytes,
            10 * kMiB + unique_bytes + result->frames * kFrameHeaderBytes);
  expect_disk(target_ / "a.vhdx", guest.content());
}

TEST_F(LiveMoves, RefusedBeforeAnythingIsMade) {
  const auto disk = make("a.vhdx");
  {
    RunningReceiver plain(receiver_options());
    LiveSender sender(options_for({{disk, "a.vhdx"}}, plain.port()), cutover_);
    EXPECT_TRUE(
        failed_as(sender.run(), FailureClass::kIncompatible, "takes no disks that are in use"));
  }
  RunningReceiver receiver(live_receiver_options());
  test::write_data_disk(target_, "taken.vhdx", 1);
  LiveSender taken(options_for({{disk, "taken.vhdx"}}, receiver.port()), cutover_);
  EXPECT_TRUE(failed_as(taken.run(), FailureClass::kIncompatible, "It is never overwritten"));
  LiveSender path(options_for({{disk, "../a.vhdx"}}, receiver.port()), cutover_);
  EXPECT_TRUE(failed_as(path.run(), FailureClass::kUsage));
  LiveSender twice(options_for({{disk, "a.vhdx"}, {disk, "a.vhdx"}}, receiver.port()), cutover_);
  EXPECT_TRUE(failed_as(twice.run(), FailureClass::kUsage, "two disks of one name"));
  gate_->start_tracking();
  LiveSender busy(options_for({{disk, "a.vhdx"}}, receiver.port()), cutover_);
  EXPECT_TRUE(failed_as(busy.run(), FailureClass::kNetwork, "tracked or held already"));
  EXPECT_EQ(gate_->state(), WriteGate::State::kTracking) << "it is another's";
  gate_->stop_tracking();
  const std::string parent = test::write_data_disk(source_, "parent.vhdx", 1);
  vhdx::Geometry geometry = small_geometry(8 * kMiB);
  geometry.type = vhdx::DiskType::kDifferencing;
  const auto child = open(test::write_child(
      source_, "child.vhdx", test::ModelDisk::random(geometry, random_, kMiB), parent));
  LiveSender differencing(options_for({{child, "child.vhdx"}}, receiver.port()), cutover_);
  EXPECT_TRUE(failed_as(differencing.run(), FailureClass::kUsage, "differencing"));
  EXPECT_EQ(names_in(target_), Names{"taken.vhdx"});
}

}  // namespace
}  // namespace vhdxm::transfer
