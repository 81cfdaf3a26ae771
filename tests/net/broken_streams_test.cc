// What a network does to a move: cuts, stalls, half-closed and damaged connections, at chosen and
// at random places. Either the disk arrives whole all the same, or both sides fail and nothing is
// left.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <random>

#include "tests/net/net_test.h"
#include "tests/net/tcp_proxy.h"
#include "tests/support/random_seed.h"
#include "transfer/frame.h"
#include "transfer/messages.h"
#include "transfer/preamble.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using test::disks_in;
using test::expect_same_layer;
using test::Names;
using test::names_in;
using test::ProxyFault;
using test::ProxyRule;
using test::TcpProxy;
using test::Untouched;
using test::write_data_disk;
using vhdx::kMiB;
using Kind = ProxyFault::Kind;
using Type = ReceiverEvent::Type;

// Control is the first connection of a move, its data streams are the others.
constexpr std::size_t kControl = 0;

class BrokenStream : public NetTest {
 protected:
  explicit BrokenStream(const std::function<void(ReceiverOptions&)>& change = {})
      : receiver_([&] {
          ReceiverOptions options = receiver_options();
          if (change) change(options);
          return options;
        }()) {}

  SendResult send_through(const TcpProxy& proxy) {
    SenderOptions options = sender_options(disk_, proxy.port());
    options.streams = streams_;
    options.limit_bytes_per_second = limit_;
    options.timeouts = timeouts_;
    options.plaintext_data = plaintext_;
    return send(options);
  }

  /// The disk arrives in spite of what `rule` does; how it got there.
  JobReport expect_arrival(TcpProxy::RuleFunction rule) {
    const TcpProxy proxy(receiver_.port(), std::move(rule));
    const SendResult result = send_through(proxy);
    EXPECT_TRUE(succeeded(result));
    if (result.has_error()) return {};
    expect_same_layer(disk_, target_ / "a.vhdx");
    EXPECT_EQ(names_in(target_), Names{"a.vhdx"});
    std::filesystem::remove(target_ / "a.vhdx");
    return *result;
  }

  /// Both sides fail, and nothing is left at the destination.
  void expect_failure(TcpProxy::RuleFunction rule, FailureClass failure_class,
                      std::string_view text = "") {
    const TcpProxy proxy(receiver_.port(), std::move(rule));
    EXPECT_TRUE(failed_as(send_through(proxy), failure_class, text));
    const ReceiverEvent event = receiver_.wait_for(Type::kJobFailed, ++failed_);
    ASSERT_TRUE(event.failure.has_value());
    EXPECT_TRUE(failed_as(*event.failure, failure_class, text));
    EXPECT_EQ(disks_in(target_), Names{});
  }

  static TcpProxy::RuleFunction up(std::size_t connection, ProxyFault fault) {
    return [=](std::size_t number) {
      return number == connection ? ProxyRule{.up = fault} : ProxyRule{};
    };
  }

  RunningReceiver receiver_;
  const std::string disk_ = write_data_disk(source_, "a.vhdx", 1, 12 * kMiB);
  const Untouched untouched_{disk_};
  Timeouts timeouts_;
  unsigned streams_ = 1;
  std::uint64_t limit_ = 0;
  bool plaintext_ = false;
  std::size_t failed_ = 0;
};

TEST_F(BrokenStream, IsReplacedWhereverItIsCut) {
  for (const std::uint64_t at :
       std::initializer_list<std::uint64_t>{0, 40, 700, 100'000, kMiB, kMiB + kMiB / 2, 3 * kMiB}) {
    SCOPED_TRACE(at);
    const JobReport report = expect_arrival(up(1, {.kind = Kind::kCut, .after_bytes = at}));
    EXPECT_GE(report.streams_replaced, 1u);
    EXPECT_EQ(report.totals.bytes_done, report.totals.bytes_total);
  }
}

TEST_F(BrokenStream, MayBreakSeveralTimes) {
  const JobReport report = expect_arrival([](std::size_t number) {
    return ProxyRule{.up = {.kind = number > 0 && number < 4 ? Kind::kCut : Kind::kNone,
                            .after_bytes = kMiB + kMiB / 2}};
  });
  EXPECT_GE(report.streams_replaced, 3u);
  EXPECT_GT(report.resent_bytes, 0u);
  EXPECT_EQ(report.totals.bytes_done, report.totals.bytes_total);
}

TEST_F(BrokenStream, OthersGoOnWithItsExtents) {
  streams_ = 4;
  limit_ = 40 * kMiB;  // or one stream has it all before the others have joined
  const JobReport report = expect_arrival([](std::size_t number) {
    return ProxyRule{
        .up = {.kind = number % 2 == 1 ? Kind::kCut : Kind::kNone, .after_bytes = 300'000}};
  });
  EXPECT_GE(report.streams_replaced, 1u);
}

TEST_F(BrokenStream, HalfClosedIsBroken) {
  timeouts_.stall = 500ms;  // the sender's own half is open and full
  expect_arrival(up(1, {.kind = Kind::kHalfClose, .after_bytes = 2 * kMiB}));
}

TEST_F(BrokenStream, StalledIsGivenUpAndReplaced) {
  timeouts_.stall = 500ms;
  const JobReport report = expect_arrival(up(1, {.kind = Kind::kStall, .after_bytes = kMiB + 777}));
  EXPECT_GE(report.streams_replaced, 1u);
}

// TLS finds it, and the stream is replaced: what is sent again is right.
TEST_F(BrokenStream, DamageToTlsCostsAStreamOnly) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 6; ++i) {
    const std::uint64_t at = random() % (2 * kMiB);
    SCOPED_TRACE(at);
    const JobReport report = expect_arrival(up(1, {.kind = Kind::kFlip, .after_bytes = at}));
    EXPECT_GE(report.streams_replaced, 1u);
  }
}

TEST_F(BrokenStream, ThatBreaksAgainAndAgainEndsTheJob) {
  expect_failure(
      [](std::size_t number) {
        return number == kControl ? ProxyRule{}
                                  : ProxyRule{.up = {.kind = Kind::kCut, .after_bytes = 10'000}};
      },
      FailureClass::kNetwork);
}

// The last that a sender says on control: EndDisk, CommitDisk, EndJob and goodbye, 154 bytes of TLS
// in all. Before them come the plan and the offer, which are longer than the other 146.
class BrokenControl : public BrokenStream {
 protected:
  BrokenControl() { timeouts_.heartbeat = 15s; }  // says nothing in between on a slow machine

  std::uint64_t bytes_of_control() {
    const TcpProxy proxy(receiver_.port());
    EXPECT_TRUE(succeeded(send_through(proxy)));
    std::filesystem::remove(target_ / "a.vhdx");
    return proxy.bytes_up(kControl);
  }
};

TEST_F(BrokenControl, EndsTheJob) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  const std::uint64_t all = bytes_of_control();
  for (int i = 0; i < 6; ++i) {
    const std::uint64_t at = all - 300 + random() % 200;
    SCOPED_TRACE(at);
    expect_failure(up(kControl, {.kind = Kind::kCut, .after_bytes = at}), FailureClass::kNetwork);
  }
}

// TLS finds it. It is the network's fault: the sender is told to run it again.
TEST_F(BrokenControl, DamageEndsTheJob) {
  const TcpProxy proxy(receiver_.port(), up(kControl, {.kind = Kind::kFlip,
                                                       .after_bytes = bytes_of_control() - 120}));
  EXPECT_TRUE(failed_as(send_through(proxy), FailureClass::kNetwork, "not those that were sent"));
  const ReceiverEvent event = receiver_.wait_for(Type::kJobFailed);
  ASSERT_TRUE(event.failure.has_value());
  EXPECT_EQ(event.failure->error.code, make_error_code(Errc::kChecksum));
  EXPECT_EQ(disks_in(target_), Names{});
}

class PlainStream : public BrokenStream {
 protected:
  PlainStream() : BrokenStream([](ReceiverOptions& options) { options.plaintext_data = true; }) {
    plaintext_ = true;
  }
};

constexpr std::uint64_t kFrameMagicBytes = 4;

// Without TLS a frame's own sums find it. That ends the job: what else was damaged on the way, and
// went unnoticed, nobody knows.
TEST_F(PlainStream, DamagedFrameIsFound) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  const std::uint64_t joined = kPreambleBytes + encode(Join{}).size();
  for (int i = 0; i < 8; ++i) {
    // The first frame of a stream carries 1 MiB.
    std::uint64_t at = joined + kFrameHeaderBytes + random() % kMiB;
    if (i < 3) at = joined + random() % kFrameHeaderBytes;
    SCOPED_TRACE(at - joined);
    // On whichever stream it is that carries the data.
    expect_failure(
        [at](std::size_t number) {
          return number == kControl ? ProxyRule{}
                                    : ProxyRule{.up = {.kind = Kind::kFlip, .after_bytes = at}};
        },
        // Whatever lacks the magic is no frame at all; behind it, the header's own sum speaks
        // first.
        i < 3 && at < joined + kFrameMagicBytes ? FailureClass::kFailed : FailureClass::kData);
  }
}

TEST_F(PlainStream, DamagedJoinCostsAStreamOnly) {
  for (std::uint64_t at = 3; at < kPreambleBytes + encode(Join{}).size(); at += 7) {
    SCOPED_TRACE(at);
    const JobReport report = expect_arrival(up(1, {.kind = Kind::kFlip, .after_bytes = at}));
    EXPECT_GE(report.streams_replaced, 1u);
  }
}

TEST_F(PlainStream, CutAnywhereIsReplaced) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 6; ++i) {
    const std::uint64_t at = random() % (4 * kMiB);
    SCOPED_TRACE(at);
    expect_arrival(up(1, {.kind = Kind::kCut, .after_bytes = at}));
  }
}

}  // namespace
}  // namespace vhdxm::transfer
