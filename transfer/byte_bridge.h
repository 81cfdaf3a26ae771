// Carries bytes both ways between a peer and a program of this host that speaks through a local
// socket: what stands in them is theirs.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <memory>

#include "transfer/secure_socket.h"

namespace vhdxm::transfer {

/// Thread safety: none; one io_context's thread. Lifetime: held by a shared_ptr while run() runs.
class ByteBridge {
 public:
  using LocalSocket = asio::local::stream_protocol::socket;

  /// Requires: peer->set_full_duplex() was called before anything was read.
  ByteBridge(std::unique_ptr<SecureSocket> peer, LocalSocket local);

  /// Until one of the two ends, then both are closed; what one of them said before it ended is
  /// passed on. Does not throw: whoever is at an end learns from it that it was closed.
  /// A peer that does not answer any more at all is taken for gone after kPeerSilent.
  asio::awaitable<void> run();
  /// Ends it soon.
  void stop();

  static constexpr std::chrono::seconds kPeerSilent{15};

 private:
  asio::awaitable<void> carry_out();
  asio::awaitable<void> drain();
  asio::awaitable<void> carry_in();
  void watch_peer();

  std::unique_ptr<SecureSocket> peer_;
  LocalSocket local_;
  asio::steady_timer carried_in_;  ///< Ends when carry_in() has.
  bool in_is_over_ = false;
};

}  // namespace vhdxm::transfer
