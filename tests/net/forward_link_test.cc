// Connections for requests that a host forwards: what passes, who is let in, and how they end.
#include "transfer/forward_link.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/net/running_receiver.h"
#include "tests/net/tcp_proxy.h"
#include "tests/support/random_seed.h"
#include "tests/support/temp_folder.h"
#include "transfer/early_message.h"

namespace vhdxm::transfer {
namespace {

/// A program of the receiver's host that says back what it hears.
class Echo {
 public:
  ~Echo() {
    for (std::thread& thread : threads_) thread.join();
  }
  /// The other end of a new connection to it.
  int connect() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const std::lock_guard lock(mutex_);
    threads_.emplace_back([fd = ends[1]] {
      std::array<char, 4096> bytes{};
      for (;;) {
        const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), 0);
        if (got <= 0) break;
        if (::send(fd, bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) break;
      }
      ::close(fd);
    });
    return ends[0];
  }

 private:
  std::mutex mutex_;
  std::vector<std::thread> threads_;
};

/// What is sent comes back, in pieces of all sizes at once both ways.
void expect_echo(int fd, std::size_t length, std::uint64_t seed) {
  std::vector<char> sent(length);
  std::mt19937_64 random(seed);
  std::generate(sent.begin(), sent.end(), [&] { return static_cast<char>(random()); });
  std::thread writer([&] {
    std::mt19937_64 sizes(seed);
    for (std::size_t at = 0; at < sent.size();) {
      const std::size_t piece = std::min<std::size_t>(sent.size() - at, 1 + sizes() % 300'000);
      ASSERT_EQ(::send(fd, &sent[at], piece, MSG_NOSIGNAL), static_cast<ssize_t>(piece));
      at += piece;
    }
  });
  std::vector<char> back(length);
  ASSERT_EQ(::recv(fd, back.data(), back.size(), MSG_WAITALL), static_cast<ssize_t>(length));
  writer.join();
  EXPECT_TRUE(back == sent);
}

/// Nothing more comes.
void expect_end(int fd) {
  char byte = 0;
  EXPECT_LE(::recv(fd, &byte, 1, 0), 0);
}

class ForwardLinkTest : public testing::Test {
 protected:
  ForwardLinkTest() : trace_(__FILE__, __LINE__, test::repeat_with(seed_)) {}

  void start(ForwardFunction forward) {
    std::filesystem::create_directories(folder_ / "into");
    receiver_ = std::make_unique<RunningReceiver>(
        ReceiverOptions{.into = folder_ / "into", .key = key_, .forward = std::move(forward)});
    target_.port = receiver_->port();
  }
  ForwardFunction echo() {
    return [this](const ForwardWish&) -> Result<ForwardDoor> {
      return ForwardDoor{.socket = echo_.connect(), .ready = {.export_name = "e", .instance = 7}};
    };
  }

  const std::uint64_t seed_ = test::random_seed();
  testing::ScopedTrace trace_;
  test::TempFolder folder_;
  const PairingKey key_ = PairingKey::read_or_create_file(folder_ / "key").value();
  Echo echo_;  // Ends after the receiver, whose bridges are its clients.
  std::unique_ptr<RunningReceiver> receiver_;
  ForwardTarget target_{.host = "127.0.0.1",
                        .port = 0,
                        .key = key_,
                        .job = {1, 2, 3},
                        .folder = "fast",
                        .name = "web01.vhdx"};
};

TEST_F(ForwardLinkTest, BytesPassBothWays) {
  std::promise<ForwardWish> told;
  start([&](const ForwardWish& wish) {
    told.set_value(wish);
    return echo()(wish);
  });
  const auto link = ForwardLink::open(target_);
  ASSERT_TRUE(link.has_value()) << link.error().message;
  const ForwardWish asked = told.get_future().get();
  EXPECT_EQ(asked.job, target_.job);
  EXPECT_EQ(asked.folder, "fast");
  EXPECT_EQ(asked.name, "web01.vhdx");
  EXPECT_EQ((*link)->ready().export_name, "e");
  EXPECT_EQ((*link)->ready().instance, 7u);
  const int fd = (*link)->take_socket();
  for (const std::size_t length : {std::size_t{1}, std::size_t{28}, std::size_t{8} << 20}) {
    expect_echo(fd, length, seed_);
  }
  ::close(fd);
}

TEST_F(ForwardLinkTest, SeveralAtOnceEndOneByOne) {
  start(echo());
  std::vector<std::thread> clients;
  for (std::uint64_t i = 0; i < 6; ++i) {
    clients.emplace_back([&, i] {
      const auto link = ForwardLink::open(target_);
      ASSERT_TRUE(link.has_value()) << link.error().message;
      const int fd = (*link)->take_socket();
      expect_echo(fd, 100'000 * (i + 1), seed_ + i);
      ::close(fd);
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(ForwardLinkTest, WhicheverEndsTheOthersLearnOfIt) {
  start(echo());
  // The receiver.
  auto link = ForwardLink::open(target_);
  ASSERT_TRUE(link.has_value()) << link.error().message;
  int fd = (*link)->take_socket();
  expect_echo(fd, 1000, seed_);
  receiver_->stop();
  expect_end(fd);
  ::close(fd);
  // The link, under a client that still waits.
  start(echo());
  link = ForwardLink::open(target_);
  ASSERT_TRUE(link.has_value()) << link.error().message;
  fd = (*link)->take_socket();
  std::thread waits([&] { expect_end(fd); });
  *link = nullptr;
  waits.join();
  ::close(fd);
}

TEST_F(ForwardLinkTest, WhoIsNotLetInIsToldWhy) {
  std::atomic<Errc> refusal = Errc::kRefused;
  start([&](const ForwardWish&) -> Result<ForwardDoor> {
    return Error{.code = refusal.load(), .where = "no such disk"};
  });
  auto link = ForwardLink::open(target_);
  ASSERT_TRUE(link.has_error());
  EXPECT_EQ(link.error().error.code, Errc::kRefused);
  EXPECT_NE(link.error().message.find("no such disk"), std::string::npos) << link.error().message;
  refusal = Errc::kBusy;
  link = ForwardLink::open(target_);
  ASSERT_TRUE(link.has_error());
  EXPECT_EQ(link.error().error.code, Errc::kBusy);
  // Another key: nothing is asked of anybody.
  start([&](const ForwardWish&) -> Result<ForwardDoor> {
    ADD_FAILURE() << "asked for a peer that proved nothing";
    return Error{.code = Errc::kRefused};
  });
  target_.key = PairingKey::read_or_create_file(folder_ / "other").value();
  link = ForwardLink::open(target_);
  ASSERT_TRUE(link.has_error());
  EXPECT_EQ(link.error().failure_class, FailureClass::kAuthentication) << link.error().message;
}

// Wherever it breaks, open() returns at once: nothing waits for a deadline.
TEST_F(ForwardLinkTest, AConnectionThatBreaksIsNoWait) {
  start(echo());
  std::mt19937_64 random(seed_);
  for (unsigned round = 0; round < 20; ++round) {
    test::ProxyRule rule;
    (round % 2 == 0 ? rule.up : rule.down) = {.kind = test::ProxyFault::Kind::kCut,
                                              .after_bytes = random() % 400};
    const test::TcpProxy proxy(receiver_->port(), [rule](std::size_t) { return rule; });
    ForwardTarget target = target_;
    target.port = proxy.port();
    target.timeouts.handshake = std::chrono::hours(1);
    const auto link = ForwardLink::open(target);
    if (link.has_value()) continue;
    EXPECT_EQ(link.error().failure_class, FailureClass::kNetwork) << link.error().message;
  }
}

TEST_F(ForwardLinkTest, AnOpenWithAnotherPreambleIsNoOpen) {
  start(echo());
  // By hand: the first words are of another job than the connection's.
  asio::io_context context{1};
  std::optional<Errc> ended;
  const auto converse = [&]() -> asio::awaitable<void> {
    tcp::socket connected =
        co_await connect_to(context, "127.0.0.1", receiver_->port(), std::chrono::seconds(60));
    SecureSocket socket(std::move(connected), "the receiver");
    const Preamble preamble{.kind = ConnectionKind::kForward, .job_id = {1}};
    co_await socket.connect_secure(preamble, key_, false);
    const Preamble other{.kind = ConnectionKind::kForward, .job_id = {2}};
    const Message open = ForwardOpen{.preamble = encode(other), .folder = "", .name = "a.vhdx"};
    co_await write_early_message(socket, open);
    try {
      (void)co_await read_early_message(socket);
    } catch (const TransferError& problem) {
      ended = static_cast<Errc>(problem.error().code.value());
    }
  };
  asio::co_spawn(context, converse(), [](const std::exception_ptr& thrown) {
    EXPECT_FALSE(thrown) << "it was to end before an answer";
  });
  context.run();
  EXPECT_EQ(ended, Errc::kPeerClosed);
  receiver_->wait_for(ReceiverEvent::Type::kPeerRefused);
}

}  // namespace
}  // namespace vhdxm::transfer
