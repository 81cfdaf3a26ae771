// Hosts with other things to do: several senders at once, a full disk at the destination, a source
// that somebody writes to.
#include <sched.h>
#include <sys/mount.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <vector>

#include "tests/net/hand_receiver.h"
#include "tests/net/hand_sender.h"
#include "tests/net/net_test.h"

namespace vhdxm::transfer {
namespace {

using test::disks_in;
using test::expect_same_layer;
using test::Names;
using test::names_in;
using test::Untouched;
using test::write_data_disk;
using vhdx::kMiB;
using Type = ReceiverEvent::Type;

class SeveralSenders : public NetTest {};

TEST_F(SeveralSenders, EachHasItsOwnBudget) {
  constexpr unsigned kJobs = 5;
  ReceiverOptions options = receiver_options();
  options.jobs_max = kJobs;
  options.memory_bytes = 32 * kMiB;
  RunningReceiver receiver(options);
  std::vector<std::string> disks;
  std::vector<std::unique_ptr<RunningSender>> senders;
  for (unsigned i = 0; i < kJobs; ++i) {
    disks.push_back(write_data_disk(source_, std::to_string(i) + ".vhdx", i, 12 * kMiB));
  }
  for (const std::string& disk : disks) {
    SenderOptions sender = sender_options(disk, receiver.port());
    sender.streams = 16;
    senders.push_back(std::make_unique<RunningSender>(sender));
  }
  // A sender has a buffer for each stream, and as many streams as it was granted.
  std::uint64_t granted_bytes = 0;
  for (const auto& sender : senders) {
    const SendResult result = sender->result();
    ASSERT_TRUE(succeeded(result));
    granted_bytes += result->peak_buffer_bytes;
  }
  EXPECT_LE(granted_bytes, options.memory_bytes) << "more streams than there is memory for";
  for (const std::string& disk : disks) {
    expect_same_layer(disk, target_ / std::filesystem::path(disk).filename().string());
  }
}

TEST_F(SeveralSenders, AStreamMoreThanTheShareIsRefused) {
  ReceiverOptions options = receiver_options();
  options.jobs_max = 1;
  options.memory_bytes = 13 * kMiB;
  RunningReceiver receiver(options);
  HandSender sender(receiver.port(), key_);
  sender.hello_message.streams_wanted = 64;
  sender.connect();
  // 1 MiB for the payload, half for what TLS needs, 1 MiB to unpack to.
  EXPECT_EQ(sender.hello().streams_max, 2u);
  sender.offer({HandDisk("a.vhdx").offer});
  sender.begin(0, HandDisk("a.vhdx").plan);
  sender.request_streams(2);
  sender.control.send(StreamRequest{.count = 1});
  EXPECT_EQ(sender.expect_fail().code, static_cast<int>(Errc::kTooLarge));
}

TEST_F(SeveralSenders, OneTooManyIsToldToComeAgain) {
  ReceiverOptions options = receiver_options();
  options.jobs_max = 1;
  RunningReceiver receiver(options);
  HandSender first(receiver.port(), key_);
  HandConnection stream = first.start(HandDisk("first.vhdx"));
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  const Untouched untouched(disk);
  EXPECT_TRUE(failed_as(send(sender_options(disk, receiver.port())), FailureClass::kNetwork,
                        "as many as it takes"));
  first.control.close();
  receiver.wait_for(Type::kJobFailed);
  EXPECT_TRUE(succeeded(send(sender_options(disk, receiver.port()))));
}

// One of them is first; the other is refused and does not harm it.
TEST_F(SeveralSenders, OfOneName) {
  RunningReceiver receiver(receiver_options());
  HandSender first(receiver.port(), key_);
  HandConnection stream = first.start(HandDisk("a.vhdx"));
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  const Untouched untouched(disk);
  EXPECT_TRUE(failed_as(send(sender_options(disk, receiver.port())), FailureClass::kNetwork,
                        "another job is receiving this disk"));
  first.send_all(stream);
  first.wait_written(4);
  first.control.send(first.end_of(0));
  first.control.expect<DiskSealed>();
  first.control.send(CommitDisk{.disk = 0});
  first.control.expect<DiskCommitted>();
  EXPECT_EQ(names_in(target_), Names{"a.vhdx"});
}

// A small file system at the receiver's folder, which nobody but this process sees.
class FullDestination : public NetTest {
 protected:
  void SetUp() override {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", target_.path().c_str(), "tmpfs", 0, "size=32m") != 0) {
      GTEST_SKIP() << "mounting a small tmpfs: " << std::strerror(errno);
    }
    mounted_ = true;
    receiver_ = std::make_unique<RunningReceiver>(receiver_options());
  }
  void TearDown() override {
    receiver_.reset();
    if (mounted_) ::umount2(target_.path().c_str(), MNT_DETACH);
  }

  void expect_no_space(const Failure& failure) {
    EXPECT_TRUE(failed_as(failure, FailureClass::kIncompatible));
    EXPECT_EQ(failure.error.code, make_error_code(Errc::kNoSpace));
    receiver_->wait_for(Type::kJobFailed);
    EXPECT_EQ(names_in(target_), Names{});
  }

  std::unique_ptr<RunningReceiver> receiver_;
  bool mounted_ = false;
};

TEST_F(FullDestination, IsSaidAtTheOffer) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1, 40 * kMiB);
  const Untouched untouched(disk);
  const SendResult result = send(sender_options(disk, receiver_->port()));
  ASSERT_TRUE(result.has_error());
  EXPECT_NE(result.error().message.find("free and needs"), std::string::npos)
      << result.error().message;
  expect_no_space(result.error());
}

// The room that a disk needs is taken before its first byte: nobody else can have it meanwhile.
TEST_F(FullDestination, IsFoundBeforeTheFirstByte) {
  HandSender sender(receiver_->port(), key_);
  HandDisk disk("a.vhdx");
  disk.offer.description.geometry.virtual_size_bytes = 64 * kMiB;
  disk.offer.payload_bytes = 1;  // a lie
  disk.plan = vhdx::BlockPlan(disk.offer.description.geometry);
  for (std::uint64_t block = 0; block < 40; ++block) disk.plan.set(block, vhdx::BlockUse::kFull);
  sender.connect();
  sender.hello();
  sender.offer({disk.offer});
  const auto plan = disk.plan.encoded();
  sender.control.send(PlanPart{.disk = 0, .first_byte = 0, .bytes = {plan.begin(), plan.end()}});
  sender.control.send(BeginDisk{.disk = 0});
  const Fail fail = sender.expect_fail();
  EXPECT_EQ(fail.code, static_cast<int>(Errc::kNoSpace)) << fail.text;
  EXPECT_NE(fail.text.find("No space left on device"), std::string::npos) << fail.text;
  receiver_->wait_for(Type::kJobFailed);
  EXPECT_EQ(names_in(target_), Names{});
}

class ChangingSource : public NetTest {
 protected:
  /// Sends a disk while `change` is done to its file, between the first byte and the last.
  SendResult send_while(const std::string& disk, const std::function<void()>& change) {
    SenderOptions options = sender_options(disk, receiver_.port());
    std::atomic<bool> changed{false};
    return send(options, [&](const Progress& progress) {
      if (progress.phase == Phase::kCopying && !changed.exchange(true)) change();
    });
  }

  RunningReceiver receiver_{receiver_options()};
};

TEST_F(ChangingSource, IsNoticedAndRefused) {
  const auto overwrite = [](const std::string& path) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5 * static_cast<std::streamoff>(kMiB));
    file << "written meanwhile";
  };
  const auto grow = [](const std::string& path) {
    std::filesystem::resize_file(path, std::filesystem::file_size(path) + kMiB);
  };
  const auto replace = [](const std::string& path) {
    std::filesystem::copy_file(path, path + ".copy");
    std::filesystem::rename(path + ".copy", path);
  };
  std::size_t failed = 0;
  for (const std::function<void(const std::string&)>& change :
       {std::function<void(const std::string&)>(overwrite),
        std::function<void(const std::string&)>(grow),
        std::function<void(const std::string&)>(replace)}) {
    const std::string name = std::to_string(failed) + ".vhdx";
    const std::string disk = write_data_disk(source_, name, 1);
    const SendResult result = send_while(disk, [&] { change(disk); });
    ASSERT_TRUE(failed_as(result, FailureClass::kFailed, disk));
    EXPECT_EQ(result.error().error.code, make_error_code(Errc::kSourceChanged));
    EXPECT_NE(result.error().advice, "");
    const ReceiverEvent event = receiver_.wait_for(Type::kJobFailed, ++failed);
    EXPECT_TRUE(failed_as(*event.failure, FailureClass::kFailed, "changed"));
    EXPECT_EQ(disks_in(target_), Names{});
  }
}

TEST_F(ChangingSource, ReadingItIsNoChange) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  EXPECT_TRUE(succeeded(send_while(disk, [&] { test::file_hash(disk); })));
}

TEST_F(ChangingSource, CancelInTheMiddle) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  const Untouched untouched(disk);
  std::unique_ptr<Sender> sender;
  sender = std::make_unique<Sender>(sender_options(disk, receiver_.port()),
                                    [&](const Progress& progress) {
                                      if (progress.phase == Phase::kCopying) sender->cancel();
                                    });
  EXPECT_TRUE(failed_as(sender->run(), FailureClass::kCancelled));
  const ReceiverEvent event = receiver_.wait_for(Type::kJobFailed);
  EXPECT_TRUE(failed_as(*event.failure, FailureClass::kCancelled, "cancelled"));
  EXPECT_EQ(disks_in(target_), Names{});
}

}  // namespace
}  // namespace vhdxm::transfer
