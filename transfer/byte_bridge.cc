#include "transfer/byte_bridge.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/write.hpp>
#include <utility>
#include <vector>

namespace vhdxm::transfer {
namespace {

constexpr std::size_t kBridgeBytes = 256 * 1024;

}  // namespace

ByteBridge::ByteBridge(std::unique_ptr<SecureSocket> peer, LocalSocket local)
    : peer_(std::move(peer)), local_(std::move(local)), carried_in_(local_.get_executor()) {
  watch_peer();
}

/// Nobody says anything for as long as nothing is asked for, so the kernel asks whether the other
/// host is there, and how long what was said may stay without an answer.
void ByteBridge::watch_peer() {
  const int handle = peer_->socket().native_handle();
  constexpr int kProbes = 3;
  constexpr int kProbeSeconds = static_cast<int>(kPeerSilent.count()) / (kProbes + 2);
  const auto set = [handle](int level, int name, int value) {
    // One that the kernel does not take makes a dead peer be noticed later, nothing else.
    (void)::setsockopt(handle, level, name, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 2 * kProbeSeconds);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kProbeSeconds);
  set(IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT,
      static_cast<int>(std::chrono::milliseconds(kPeerSilent).count()));
  set(IPPROTO_TCP, TCP_NODELAY, 1);
}

asio::awaitable<void> ByteBridge::run() {
  asio::co_spawn(local_.get_executor(), carry_in(), [this](const std::exception_ptr&) {
    // What it threw, a broken connection, is the end that it came to. The local program is told by
    // half: nbdkit 1.32 ends itself when it cannot send what it is about to answer.
    in_is_over_ = true;
    peer_->abort();
    error_code ignored;
    local_.shutdown(LocalSocket::shutdown_send, ignored);
    carried_in_.cancel();
  });
  try {
    co_await carry_out();
  } catch (const std::exception&) {
    peer_->abort();
  }
  co_await drain();
  stop();
  while (!in_is_over_) {
    carried_in_.expires_at(asio::steady_timer::time_point::max());
    (void)co_await carried_in_.async_wait(kAsTuple);
  }
}

void ByteBridge::stop() {
  peer_->abort();
  error_code ignored;
  local_.close(ignored);
}

/// What the local program still says to a peer that is gone, until it has ended, too.
asio::awaitable<void> ByteBridge::drain() {
  error_code ignored;
  local_.shutdown(LocalSocket::shutdown_send, ignored);
  std::vector<std::byte> bytes(kBridgeBytes);
  for (;;) {
    const auto [ec, got] = co_await local_.async_read_some(asio::buffer(bytes), kAsTuple);
    if (ec || got == 0) co_return;
  }
}

asio::awaitable<void> ByteBridge::carry_out() {
  std::vector<std::byte> bytes(kBridgeBytes);
  for (;;) {
    const auto [ec, got] = co_await local_.async_read_some(asio::buffer(bytes), kAsTuple);
    if (ec || got == 0) co_return;
    const std::array<asio::const_buffer, 1> buffers = {asio::buffer(bytes.data(), got)};
    co_await peer_->write(buffers);
  }
}

asio::awaitable<void> ByteBridge::carry_in() {
  std::vector<std::byte> bytes(kBridgeBytes);
  for (;;) {
    const std::size_t got = co_await peer_->read_some(bytes);
    if (got == 0) co_return;
    const auto [ec, written] =
        co_await asio::async_write(local_, asio::buffer(bytes.data(), got), kAsTuple);
    if (ec) co_return;
  }
}

}  // namespace vhdxm::transfer
