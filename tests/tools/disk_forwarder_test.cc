// What clients of a disk's old host are given: by a real receiver, from another project's NBD
// server.
#include "tools/disk_forwarder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "tests/net/running_receiver.h"
#include "tests/net/tcp_proxy.h"
#include "tests/support/expect_error.h"
#include "tests/support/program.h"
#include "tests/support/random_seed.h"
#include "tests/support/temp_folder.h"
#include "tools/mover_client.h"

namespace vhdxm::tools {
namespace {

using namespace std::chrono_literals;
using test::succeeded;
using transfer::Errc;
using transfer::ForwardDoor;
using transfer::ForwardWish;
using transfer::LiveDisk;

constexpr std::uint64_t kMemoryBytes = 16 << 20;
constexpr std::size_t kPageBytes = 4096;

std::vector<std::byte> page_of(std::uint64_t number) {
  std::vector<std::byte> page(kPageBytes);
  std::mt19937_64 random(number);
  std::generate(page.begin(), page.end(), [&] { return static_cast<std::byte>(random()); });
  return page;
}

class DiskForwarderTest : public testing::Test {
 protected:
  DiskForwarderTest() : trace_(__FILE__, __LINE__, test::repeat_with(seed_)) {}

  /// qemu-nbd, in the background.
  void SetUp() override {
    ASSERT_TRUE(test::has_program("qemu-nbd")) << "the package qemu-utils is missing";
    std::ofstream(folder_ / "raw").close();
    std::filesystem::resize_file(folder_ / "raw", kMemoryBytes);
    const auto started = test::run_program(
        {"qemu-nbd", "--fork", "--persistent", "--shared=0", "--discard=unmap", "--format=raw",
         "--socket=" + socket(), "--pid-file=" + (folder_ / "pid"), folder_ / "raw"});
    ASSERT_EQ(started.status, 0) << started.output;
    // Written when it takes connections, and that may be after the command has ended.
    const auto never = std::chrono::steady_clock::now() + 60s;
    while (pid_ == 0 && std::chrono::steady_clock::now() < never) {
      std::string line;
      std::ifstream file(folder_ / "pid");
      if (std::getline(file, line) && !file.eof()) pid_ = std::stoi(line);
    }
    ASSERT_GT(pid_, 0);
  }
  ~DiskForwarderTest() override {
    forwarder_.reset();
    receiver_.reset();
    if (pid_ > 0) ::kill(pid_, SIGTERM);
  }

  std::string socket() const { return folder_ / "nbd.sock"; }

  /// `rule`: what becomes of each connection.
  void start(transfer::ForwardFunction forward, test::TcpProxy::RuleFunction rule = {},
             DiskForwarder::Patience patience = 60s) {
    const auto key = transfer::PairingKey::read_or_create_file(folder_ / "key").value();
    std::filesystem::create_directories(folder_ / "into");
    receiver_ = std::make_unique<transfer::RunningReceiver>(transfer::ReceiverOptions{
        .into = folder_ / "into", .key = key, .forward = std::move(forward)});
    proxy_ = std::make_unique<test::TcpProxy>(receiver_->port(), std::move(rule));
    forwarder_ = std::make_unique<DiskForwarder>(transfer::ForwardTarget{.host = "127.0.0.1",
                                                                         .port = proxy_->port(),
                                                                         .key = key,
                                                                         .folder = "",
                                                                         .name = "web01.vhdx"},
                                                 patience);
  }
  ForwardDoor door(std::uint64_t instance = 7) const {
    return {.socket = connect_local(socket()).value(),
            .ready = {.export_name = "", .instance = instance}};
  }

  Result<void> write(std::uint64_t page, std::uint64_t number) {
    return forwarder_->write(page * kPageBytes, page_of(number), LiveDisk::Durability::kAtFlush);
  }
  void expect_page(std::uint64_t page, const std::vector<std::byte>& expected) {
    std::vector<std::byte> found(kPageBytes);
    ASSERT_TRUE(succeeded(forwarder_->read(page * kPageBytes, found)));
    EXPECT_EQ(found == expected, true) << "page " << page;
  }
  static void expect_errno(const Result<void>& result, int number) {
    ASSERT_TRUE(result.has_error());
    EXPECT_EQ(result.error().code.value(), number) << describe(result.error());
  }

  const std::uint64_t seed_ = test::random_seed();
  testing::ScopedTrace trace_;
  test::TempFolder folder_;
  pid_t pid_ = 0;
  std::unique_ptr<transfer::RunningReceiver> receiver_;
  std::unique_ptr<test::TcpProxy> proxy_;
  std::unique_ptr<DiskForwarder> forwarder_;
  static constexpr transfer::JobId kJob = {1, 2, 3};
};

TEST_F(DiskForwarderTest, AllThatAClientAsksForIsDoneThere) {
  std::promise<ForwardWish> told;
  start([&](const ForwardWish& wish) -> Result<ForwardDoor> {
    told.set_value(wish);
    return door();
  });
  forwarder_->handed_over(kJob);
  ASSERT_TRUE(succeeded(write(3, 1)));
  expect_page(3, page_of(1));
  const ForwardWish asked = told.get_future().get();
  EXPECT_EQ(asked.job, kJob);
  EXPECT_EQ(asked.name, "web01.vhdx");
  // More than goes through at once, and with all that may be said of a write.
  std::vector<std::byte> much(4 << 20, std::byte{0x5a});
  ASSERT_TRUE(succeeded(forwarder_->write(8 << 20, much, LiveDisk::Durability::kNow)));
  expect_page((8 << 20) / kPageBytes + 1023, std::vector<std::byte>(kPageBytes, std::byte{0x5a}));
  ASSERT_TRUE(succeeded(forwarder_->write_zeroes(8 << 20, kPageBytes, LiveDisk::Zeroing::kKeepRoom,
                                                 LiveDisk::Durability::kNow)));
  expect_page((8 << 20) / kPageBytes, std::vector<std::byte>(kPageBytes));
  ASSERT_TRUE(succeeded(
      forwarder_->trim((8 << 20) + kPageBytes, kPageBytes, LiveDisk::Durability::kAtFlush)));
  expect_page((8 << 20) / kPageBytes + 1, std::vector<std::byte>(kPageBytes));
  EXPECT_TRUE(succeeded(forwarder_->flush()));
  // An answer that says no is the answer.
  std::vector<std::byte> beyond(kPageBytes);
  expect_errno(forwarder_->read(kMemoryBytes, beyond), EINVAL);
  EXPECT_EQ(proxy_->connection_count(), 1u);
}

TEST_F(DiskForwarderTest, WhoAsksBeforeTheEndOfTheHandOverWaitsForIt) {
  start([&](const ForwardWish&) -> Result<ForwardDoor> { return door(); });
  std::atomic<bool> told = false;
  std::thread client([&] {
    EXPECT_TRUE(succeeded(write(0, 5)));
    EXPECT_TRUE(told);
  });
  told = true;
  forwarder_->handed_over(kJob);
  client.join();
  expect_page(0, page_of(5));
}

// Whatever breaks, what was acknowledged is there, and nothing that a client has to know of
// happens.
TEST_F(DiskForwarderTest, BrokenConnectionsAreMadeAnewAndNothingIsLost) {
  constexpr std::size_t kBroken = 6;
  std::mt19937_64 random(seed_);
  std::vector<test::ProxyRule> rules(kBroken);
  for (std::size_t i = 0; i < kBroken; ++i) {
    // The first of them breaks before anything was asked, or in the middle of that.
    auto& way = i % 2 == 0 ? rules[i].up : rules[i].down;
    way = {.kind = test::ProxyFault::Kind::kCut,
           .after_bytes = i < 2 ? random() % 2000 : 2000 + random() % 100'000};
  }
  start([&](const ForwardWish&) -> Result<ForwardDoor> { return door(); },
        [rules](std::size_t connection) {
          return connection < rules.size() ? rules[connection] : test::ProxyRule{};
        });
  forwarder_->handed_over(kJob);
  constexpr std::uint64_t kWriters = 4;
  constexpr std::uint64_t kPagesOfEach = 16;
  std::vector<std::thread> writers;
  std::array<std::uint64_t, kWriters * kPagesOfEach> last{};
  for (std::uint64_t writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer, from = random()] {
      std::mt19937_64 own(from);
      // As long as it takes to meet all that breaks, and on.
      for (std::uint64_t number = 1; number < 100 || proxy_->connection_count() <= kBroken;
           ++number) {
        const std::uint64_t page = writer * kPagesOfEach + own() % kPagesOfEach;
        const std::uint64_t content = number * kWriters + writer;
        ASSERT_TRUE(succeeded(write(page, content)));
        last[page] = content;
        if (number % 8 == 0) expect_page(page, page_of(content));
        if (number % 16 != 0) continue;
        ASSERT_TRUE(succeeded(forwarder_->flush()));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  for (std::uint64_t page = 0; page < last.size(); ++page) {
    if (last[page] != 0) expect_page(page, page_of(last[page]));
  }
  EXPECT_GT(proxy_->connection_count(), kBroken);
}

TEST_F(DiskForwarderTest, AHostThatIsNotReadyIsAskedAgain) {
  std::atomic<unsigned> calls = 0;
  start([&](const ForwardWish&) -> Result<ForwardDoor> {
    if (++calls < 4) return Error{.code = Errc::kBusy, .where = "not yet"};
    return door();
  });
  forwarder_->handed_over(kJob);
  EXPECT_TRUE(succeeded(write(0, 1)));
  EXPECT_EQ(calls, 4u);
}

TEST_F(DiskForwarderTest, PatienceEnds) {
  start(
      [](const ForwardWish&) -> Result<ForwardDoor> {
        return Error{.code = Errc::kBusy, .where = "never"};
      },
      {}, 50ms);
  // Before the hand-over, and after it.
  expect_errno(write(0, 1), EIO);
  forwarder_->handed_over(kJob);
  const auto result = write(0, 1);
  expect_errno(result, EIO);
  EXPECT_NE(describe(result.error()).find("never"), std::string::npos) << describe(result.error());
}

TEST_F(DiskForwarderTest, NoMeansNo) {
  std::atomic<unsigned> calls = 0;
  start([&](const ForwardWish&) -> Result<ForwardDoor> {
    ++calls;
    return Error{.code = Errc::kRefused, .where = "not that disk"};
  });
  forwarder_->handed_over(kJob);
  expect_errno(write(0, 1), EIO);
  expect_errno(forwarder_->flush(), EIO);
  EXPECT_EQ(calls, 1u);
}

TEST_F(DiskForwarderTest, AReceiverThatForwardsNothingSaysNo) {
  start({});
  forwarder_->handed_over(kJob);
  expect_errno(write(0, 1), EIO);
  receiver_->wait_for(transfer::ReceiverEvent::Type::kPeerRefused);
}

// What was written and not flushed may be lost with the program that had it: a flush that succeeds
// would say that it is there.
TEST_F(DiskForwarderTest, AProgramThatWasStartedAnewIsTheEnd) {
  std::atomic<std::uint64_t> instance = 0;
  start([&](const ForwardWish&) -> Result<ForwardDoor> { return door(++instance); },
        [](std::size_t connection) -> test::ProxyRule {
          if (connection > 0) return {};
          return {.up = {.kind = test::ProxyFault::Kind::kCut, .after_bytes = 20'000}};
        });
  forwarder_->handed_over(kJob);
  ASSERT_TRUE(succeeded(write(0, 1)));
  Result<void> result;
  for (std::uint64_t page = 1; !result.has_error(); ++page) result = write(page, page);
  expect_errno(result, EIO);
  EXPECT_NE(describe(result.error()).find("started anew"), std::string::npos)
      << describe(result.error());
  std::vector<std::byte> found(kPageBytes);
  expect_errno(forwarder_->read(0, found), EIO);
  expect_errno(forwarder_->flush(), EIO);
  EXPECT_EQ(instance, 2u);
}

TEST_F(DiskForwarderTest, StoppedItAnswersAllWhoWait) {
  start([](const ForwardWish&) -> Result<ForwardDoor> {
    return Error{.code = Errc::kBusy, .where = "never"};
  });
  std::vector<std::thread> clients;
  for (unsigned i = 0; i < 3; ++i) {
    clients.emplace_back([&, i] { expect_errno(write(i, 1), EIO); });
  }
  forwarder_->handed_over(kJob);
  forwarder_->stop();
  for (std::thread& client : clients) client.join();
}

TEST_F(DiskForwarderTest, AReceiverThatIsStoppedEndsItsConnections) {
  start([&](const ForwardWish&) -> Result<ForwardDoor> { return door(); }, {}, 50ms);
  forwarder_->handed_over(kJob);
  ASSERT_TRUE(succeeded(write(0, 1)));
  receiver_->stop();
  expect_errno(write(1, 1), EIO);
}

}  // namespace
}  // namespace vhdxm::tools
