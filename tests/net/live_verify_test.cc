// Moves of disks in use with --verify: both sides read again before anything is handed over.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "tests/net/live_guest.h"
#include "tests/net/live_moves.h"
#include "tests/support/expect_error.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

using test::Names;
using test::names_in;
using vhdx::kMiB;
using State = CutoverSource::State;
constexpr std::uint64_t kPage = kVerifyPageBytes;

class LiveVerifies : public LiveMoves {
 protected:
  LiveSenderOptions verified(std::vector<MovingDisk> disks, std::uint16_t port) const {
    LiveSenderOptions options = options_for(std::move(disks), port);
    options.sender.verify = true;
    return options;
  }

  /// Runs the job; `meanwhile` once, when both sides begin to read again, before they read.
  SendResult run(const LiveSenderOptions& options, const std::function<void()>& meanwhile = {}) {
    LiveSender sender(options, cutover_, [&](const Progress& progress, const LiveProgress& live) {
      if (live.phase != LivePhase::kVerifying || verifying_++ > 0) return;
      EXPECT_EQ(progress.phase, Phase::kVerifying);
      if (meanwhile) meanwhile();
    });
    SendResult result = sender.run();
    live_ = sender.live_progress();
    outcome_ = sender.outcome();
    return result;
  }

  /// Changes one byte of the destination's file, where it holds this page of the disk.
  void rot(const std::string& path, const std::vector<std::byte>& content, std::uint64_t offset) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    std::vector<std::byte> file(static_cast<std::size_t>(::lseek(fd, 0, SEEK_END)));
    ASSERT_EQ(::pread(fd, file.data(), file.size(), 0), static_cast<ssize_t>(file.size()));
    const auto page = content.begin() + static_cast<std::ptrdiff_t>(offset);
    const auto found = std::search(file.begin(), file.end(), page, page + kPage);
    ASSERT_NE(found, file.end());
    const std::byte other = *found ^ std::byte{1};
    ASSERT_EQ(::pwrite(fd, &other, 1, found - file.begin()), 1);
    ASSERT_EQ(::close(fd), 0);
  }

  /// A page of the disk that holds something.
  static std::uint64_t page_with_data(const std::vector<std::byte>& content) {
    const auto first =
        std::find_if(content.begin(), content.end(), [](std::byte b) { return b != std::byte{}; });
    return static_cast<std::uint64_t>(first - content.begin()) / kPage * kPage;
  }

  unsigned verifying_ = 0;
  LiveProgress live_;
  State outcome_ = State::kVoid;
};

TEST_F(LiveVerifies, WhatNobodyWritesIsTheSame) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  const LiveGuest guest(disk, seed_);
  const auto result = run(verified({{disk, "a.vhdx"}}, receiver.port()));
  ASSERT_TRUE(succeeded(result));
  EXPECT_GE(verifying_, 1U);
  ASSERT_TRUE(live_.verified_bytes.has_value());
  EXPECT_GE(*live_.verified_bytes, 10 * kMiB) << "all of its data, and no holes";
  EXPECT_LE(*live_.verified_bytes, 11 * kMiB);
  EXPECT_EQ(live_.verify_left_out_bytes, 0U);
  EXPECT_TRUE(result->disks.at(0).verified);
  expect_disk(target_ / "a.vhdx", guest.content());
}

TEST_F(LiveVerifies, WithoutItNothingIsReadAgain) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  const auto result = run(options_for({{disk, "a.vhdx"}}, receiver.port()));
  ASSERT_TRUE(succeeded(result));
  EXPECT_EQ(verifying_, 0U);
  EXPECT_FALSE(live_.verified_bytes.has_value());
  EXPECT_FALSE(result->disks.at(0).verified);
}

TEST_F(LiveVerifies, DisksThatAreWrittenAllTheTime) {
  RunningReceiver receiver(live_receiver_options());
  std::vector<MovingDisk> disks;
  std::vector<std::unique_ptr<LiveGuest>> guests;
  for (const char* name : {"a.vhdx", "b.vhdx"}) {
    disks.push_back({make(name), name});
    guests.push_back(std::make_unique<LiveGuest>(disks.back().disk, random_()));
    guests.back()->start(2, 12 * kMiB);
  }
  LiveSenderOptions options = verified(disks, receiver.port());
  options.limits.mirror = Convergence::Mirror::kAlways;  // not before it is done
  const auto result = run(options);
  ASSERT_TRUE(succeeded(result));
  ASSERT_TRUE(live_.verified_bytes.has_value());
  EXPECT_GT(*live_.verified_bytes, 0U) << "what guests do not write, at least";
  for (std::size_t i = 0; i < disks.size(); ++i) {
    guests[i]->join();
    EXPECT_EQ(guests[i]->errors(), 0U);
    expect_disk(target_ / disks[i].name, guests[i]->content());
  }
}

TEST_F(LiveVerifies, WhatIsWrittenMeanwhileIsLeftOut) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  const std::uint64_t data = page_with_data(guest.content());
  // Where nothing was, too: a block is there then that the destination does not have.
  const std::uint64_t hole = 23 * kMiB;
  ASSERT_TRUE(std::all_of(guest.content().end() - kMiB, guest.content().end(),
                          [](std::byte b) { return b == std::byte{}; }));
  const auto result = run(verified({{disk, "a.vhdx"}}, receiver.port()), [&] {
    guest.write(data, kPage);
    guest.write(hole, 2 * kPage);
  });
  ASSERT_TRUE(succeeded(result));
  EXPECT_EQ(live_.verify_left_out_bytes, 3 * kPage);
  EXPECT_GE(live_.passes.size(), 3U);
  expect_disk(target_ / "a.vhdx", guest.content());
}

TEST_F(LiveVerifies, WhatIsTrimmedMeanwhileIsLeftOut) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  const std::uint64_t at = page_with_data(LiveGuest(disk, seed_).content()) / kMiB * kMiB;
  const auto result = run(verified({{disk, "a.vhdx"}}, receiver.port()), [&] {
    EXPECT_TRUE(test::succeeded(disk->trim(at, kMiB, LiveDisk::Durability::kAtFlush)));
  });
  ASSERT_TRUE(succeeded(result));
  EXPECT_GT(live_.verify_left_out_bytes, 0U);
  EXPECT_LE(live_.verify_left_out_bytes, kMiB);
}

TEST_F(LiveVerifies, APageThatRottedEndsTheJobBeforeAnythingIsHandedOver) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  const std::uint64_t page = page_with_data(guest.content());
  const auto result = run(verified({{disk, "a.vhdx"}}, receiver.port()), [&] {
    rot(target_ / "a.vhdx.partial", guest.content(), page);
    guest.write(12 * kMiB, kPage);  // is no excuse
  });
  EXPECT_TRUE(
      failed_as(result, FailureClass::kData, "a page that the destination reads otherwise"));
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().error.code, Errc::kVerifyMismatch);
  EXPECT_EQ(result.error().error.offset, page);
  EXPECT_EQ(outcome_, State::kVoid);
  EXPECT_EQ(gate_->state(), WriteGate::State::kOpen);
  guest.write(page, kPage);  // the guest goes on
  EXPECT_EQ(guest.errors() + guest.refused(), 0U);
  receiver.wait_for(ReceiverEvent::Type::kJobFailed);
  EXPECT_EQ(names_in(target_), Names{}) << "what cannot be relied on is not gone on with";
  // Another attempt, to a disk that holds what it is given.
  PlainSource cutover(*gate_);
  LiveSender again(verified({{disk, "a.vhdx"}}, receiver.port()), cutover);
  ASSERT_TRUE(succeeded(again.run()));
  expect_disk(target_ / "a.vhdx", guest.content());
}

TEST_F(LiveVerifies, CancelledMeanwhileAndResumed) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  guest.start(1, 4 * kMiB);
  {
    PlainSource cutover(*gate_);
    LiveSender* running = nullptr;
    LiveSender sender(verified({{disk, "a.vhdx"}}, receiver.port()), cutover,
                      [&](const Progress&, const LiveProgress& live) {
                        if (live.phase == LivePhase::kVerifying) running->cancel();
                      });
    running = &sender;
    EXPECT_TRUE(failed_as(sender.run(), FailureClass::kCancelled));
    EXPECT_EQ(gate_->state(), WriteGate::State::kOpen);
  }
  receiver.wait_for(ReceiverEvent::Type::kJobFailed);
  EXPECT_EQ(names_in(target_), Names{"a.vhdx.partial"});
  const auto result = run(verified({{disk, "a.vhdx"}}, receiver.port()));
  ASSERT_TRUE(succeeded(result));
  EXPECT_TRUE(result->disks.at(0).resumed);
  EXPECT_TRUE(result->disks.at(0).verified);
  guest.join();
  expect_disk(target_ / "a.vhdx", guest.content());
}

TEST_F(LiveVerifies, AReceiverThatDiesMeanwhileLeavesTheGuestInPeace) {
  RunningReceiver receiver(live_receiver_options());
  const auto disk = make("a.vhdx");
  LiveGuest guest(disk, seed_);
  guest.start(1, 4 * kMiB);
  EXPECT_TRUE(run(verified({{disk, "a.vhdx"}}, receiver.port()), [&] {
                receiver.ask_to_stop();
              }).has_error());
  EXPECT_EQ(outcome_, State::kVoid);
  EXPECT_EQ(gate_->state(), WriteGate::State::kOpen);
  guest.stop();
  EXPECT_EQ(guest.refused() + guest.errors(), 0U);
}

}  // namespace
}  // namespace vhdxm::transfer
