// Whatever is slow behind a sender holds it back by credit: its buffers and its queue stay bounded.
//
// "It sends no more" is told from the sender's own reports of progress, not from a clock here.
#include <poll.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "tests/net/hand_receiver.h"
#include "tests/net/net_test.h"
#include "tests/net/system_calls.h"
#include "tests/net/tcp_proxy.h"
#include "transfer/memory_budget.h"

namespace vhdxm::transfer {
namespace {

using test::write_data_disk;
using vhdx::kMiB;

/// The sender's progress; a test waits until it makes none.
class Movement {
 public:
  ProgressFunction function() {
    return [this](const Progress& progress) {
      const std::lock_guard lock(mutex_);
      quiet_ = progress.bytes_done == bytes_ && bytes_ > 0 ? quiet_ + 1 : 0;
      bytes_ = progress.bytes_done;
      changed_.notify_all();
    };
  }
  /// Waits until three reports in a row, which come every 250 ms, have told of not a byte more.
  /// Returns the bytes that were read and sent until then.
  std::uint64_t wait_until_it_stops() {
    std::unique_lock lock(mutex_);
    const bool stopped =
        changed_.wait_for(lock, std::chrono::minutes(1), [this] { return quiet_ >= 3; });
    EXPECT_TRUE(stopped) << "it went on for a minute";
    return bytes_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t bytes_ = 0;
  int quiet_ = 0;
};

class BackPressure : public NetTest {};

TEST_F(BackPressure, SenderStopsWhenItsCreditIsUsedUpAndGoesOnWithMore) {
  constexpr std::uint64_t kCredit = 3 * kMiB;
  constexpr std::uint64_t kData = 12 * kMiB;
  const std::string disk = test::write_disk(
      source_, "a.vhdx", test::data_disk(test::small_geometry(16 * kMiB), kData, 1));
  HandReceiver receiver(key_);
  receiver.welcome.credit_bytes = kCredit;
  Movement movement;
  RunningSender sender(sender_options(disk, receiver.listener.port()), movement.function());
  HandConnection stream = receiver.start();

  std::uint64_t frames = 0;
  std::uint64_t raw_bytes = 0;
  std::uint64_t payload = 0;
  const auto take = [&] {
    const HandReceiver::Frame frame = receiver.take_frame(stream);
    ++frames;
    raw_bytes += frame.header.raw_length;
    payload += frame.payload.size();
    return frame.payload.size();
  };
  while (payload < kCredit) take();
  EXPECT_EQ(movement.wait_until_it_stops(), kCredit);
  pollfd readable{.fd = stream.fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&readable, 1, 0), 0) << "more came than there was credit for";

  // From now on as slow as one extent at a time: never more under way than the credit.
  std::uint64_t granted = kCredit;
  std::uint64_t owed = kCredit;
  while (raw_bytes < 16 * kMiB) {
    const std::uint64_t credit = std::min(owed, kMiB);
    receiver.control.send(
        Written{.streams = {{.stream = 0, .frames = frames}}, .credit_bytes = credit});
    granted += credit;
    owed -= credit;
    owed += take();
    ASSERT_LE(payload, granted);
  }
  receiver.control.send(Written{.streams = {{.stream = 0, .frames = frames}}, .credit_bytes = 0});
  const EndDisk end = receiver.control.expect<EndDisk>();
  receiver.control.send(DiskSealed{.disk = 0, .ledger = end.ledger});
  receiver.control.expect<CommitDisk>();
  receiver.control.send(DiskCommitted{.disk = 0});
  receiver.control.expect<EndJob>();
  receiver.control.send(JobDone{});
  stream.close_in_good_order();
  receiver.control.close_in_good_order();
  const SendResult result = sender.result();
  ASSERT_TRUE(succeeded(result));
  EXPECT_LE(result->peak_credit_bytes, kCredit);
  EXPECT_LE(result->peak_buffer_bytes, kMiB) << "one stream, one buffer";
}

TEST_F(BackPressure, SlowDiskAtTheDestinationIsFeltAtTheSource) {
  const std::string disk = test::write_disk(
      source_, "a.vhdx", test::data_disk(test::small_geometry(64 * kMiB), 48 * kMiB, 1));
  ReceiverOptions receiver_side = receiver_options();
  receiver_side.memory_bytes = kMiB;
  const std::uint64_t credit = credit_for(receiver_side.memory_bytes);
  ASSERT_LT(credit, 48 * kMiB);
  RunningReceiver receiver(receiver_side);
  SenderOptions options = sender_options(disk, receiver.port());
  options.streams = 8;

  std::mutex mutex;
  std::condition_variable opened;
  bool open = false;
  const test::SystemCallWatch slow_disk({}, [&](test::SystemCall::Kind kind, std::size_t length) {
    if (kind != test::SystemCall::Kind::kFileWrite || length < kMiB / 4) return;
    std::unique_lock lock(mutex);
    opened.wait(lock, [&] { return open; });
  });
  Movement movement;
  RunningSender sender(options, movement.function());
  EXPECT_LE(movement.wait_until_it_stops(), credit);
  {
    const std::lock_guard lock(mutex);
    open = true;
  }
  opened.notify_all();
  const SendResult result = sender.result();
  ASSERT_TRUE(succeeded(result));
  EXPECT_LE(result->peak_credit_bytes, credit);
  EXPECT_LE(result->peak_frames_under_way, credit / kMiB + 64);
  EXPECT_LE(result->peak_buffer_bytes, 8 * kMiB);
  const auto arrived = receiver.wait_for(ReceiverEvent::Type::kJobDone);
  EXPECT_LE(arrived.peak_buffer_bytes, kMiB) << "one stream is all that fits";
}

TEST_F(BackPressure, LinkThatSwallowsTakesNoMoreThanTheCredit) {
  const std::string disk = test::write_disk(
      source_, "a.vhdx", test::data_disk(test::small_geometry(64 * kMiB), 48 * kMiB, 1));
  ReceiverOptions receiver_side = receiver_options();
  receiver_side.memory_bytes = kMiB;
  RunningReceiver receiver(receiver_side);
  const test::TcpProxy proxy(receiver.port(), [](std::size_t connection) {
    if (connection == 0) return test::ProxyRule{};
    return test::ProxyRule{.up = {.kind = test::ProxyFault::Kind::kStall, .after_bytes = 2 * kMiB}};
  });
  Movement movement;
  RunningSender sender(sender_options(disk, proxy.port()), movement.function());
  EXPECT_LE(movement.wait_until_it_stops(), credit_for(kMiB) + 2 * kMiB)
      << "what was written has freed its credit";
  sender.cancel();
  EXPECT_TRUE(failed_as(sender.result(), FailureClass::kCancelled));
}

}  // namespace
}  // namespace vhdxm::transfer
