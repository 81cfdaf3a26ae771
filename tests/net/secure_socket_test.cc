// What is written arrives, whichever pieces it is read in; and a reader is woken for the last byte
// that comes, however many it is usually woken for.
#include "transfer/secure_socket.h"

#include <gtest/gtest.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <random>
#include <vector>

#include "tests/support/random_seed.h"

namespace vhdxm::transfer {
namespace {

constexpr std::chrono::seconds kPatience{60};
constexpr std::size_t kMessageBytesMax = 400 * 1024;

/// Sends messages of random lengths one way, a byte after each, and an answer to either back:
/// neither at the end of a message nor after that byte more comes that could wake the reader.
class SecureSocketTest : public testing::TestWithParam<bool> {
 protected:
  using SocketPointer = std::unique_ptr<SecureSocket>;

  asio::awaitable<void> serve() {
    tcp::socket accepted = co_await acceptor_.async_accept(asio::use_awaitable);
    const SocketPointer socket = std::make_unique<SecureSocket>(std::move(accepted), "the client");
    socket->set_deadline(kPatience);
    const Preamble preamble = co_await socket->read_preamble();
    if (!plaintext()) co_await socket->accept_secure(preamble, key_);
    std::vector<std::byte> got;
    for (const auto& message : messages_) {
      got.assign(message.size(), std::byte{});
      const bool whole = co_await socket->read_exact(got);
      EXPECT_TRUE(whole && got == message);
      const std::array<asio::const_buffer, 1> answer = {asio::buffer(got.data(), 1)};
      co_await socket->write(answer);
      got.resize(100);
      const std::size_t after = co_await socket->read_some(got);
      EXPECT_EQ(after, 1U);
      co_await socket->write(answer);
      ++answered_;
    }
    co_await socket->finish();
  }

  asio::awaitable<void> send() {
    tcp::socket connected(context_);
    const tcp::endpoint there = acceptor_.local_endpoint();
    co_await connected.async_connect(there, asio::use_awaitable);
    const SocketPointer socket = std::make_unique<SecureSocket>(std::move(connected), "the server");
    socket->set_deadline(kPatience);
    const Preamble preamble{.kind = ConnectionKind::kJobData, .job_id = {1}};
    co_await socket->connect_secure(preamble, key_, plaintext());
    std::vector<std::byte> answer(1);
    for (const auto& message : messages_) {
      const std::array<asio::const_buffer, 1> buffers = {asio::buffer(message)};
      co_await socket->write(buffers);
      const bool whole = co_await socket->read_exact(answer);
      EXPECT_TRUE(whole);
      const std::array<asio::const_buffer, 1> after = {asio::buffer(answer)};
      co_await socket->write(after);
      const bool again = co_await socket->read_exact(answer);
      EXPECT_TRUE(again);
    }
    co_await socket->finish();
  }

  bool plaintext() const { return GetParam(); }

  asio::io_context context_{1};
  tcp::acceptor acceptor_{context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
  const PairingKey key_ = PairingKey::generate();
  std::vector<std::vector<std::byte>> messages_;
  std::size_t answered_ = 0;
};

TEST_P(SecureSocketTest, BringsMessagesOfAllLengthsWithoutWaitingForMore) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < test::rounds(200); ++i) {
    const std::size_t length = 1 + random() % (i % 2 == 0 ? kMessageBytesMax : 40'000);
    for (std::byte& byte : messages_.emplace_back(length)) byte = static_cast<std::byte>(random());
  }
  const auto ended = [](const std::exception_ptr& failure) {
    if (!failure) return;
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& problem) {
      ADD_FAILURE() << problem.what();
    }
  };
  asio::co_spawn(context_, serve(), ended);
  asio::co_spawn(context_, send(), ended);
  context_.run();
  EXPECT_EQ(answered_, messages_.size());
}

TEST(SecureSocketQueue, IsWhatThePeersKernelHasNotTaken) {
  asio::io_context context{1};
  tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  tcp::socket to(context);
  to.connect(acceptor.local_endpoint());
  const tcp::socket from = acceptor.accept();  // reads nothing
  SecureSocket socket(std::move(to), "nobody");
  EXPECT_EQ(socket.queued_bytes(), 0U);
  socket.socket().non_blocking(true);
  const std::vector<std::byte> bytes(64 * 1024);
  boost::system::error_code error;
  while (!error) (void)socket.socket().write_some(asio::buffer(bytes), error);
  EXPECT_EQ(error, asio::error::would_block);
  EXPECT_GT(socket.queued_bytes(), 0U);
}

INSTANTIATE_TEST_SUITE_P(All, SecureSocketTest, testing::Bool(),
                         [](const auto& instance) { return instance.param ? "Plaintext" : "Tls"; });

}  // namespace
}  // namespace vhdxm::transfer
