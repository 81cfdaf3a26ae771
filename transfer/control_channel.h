// The control connection of a job: whole messages in and out, and a sign of life in between.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <string>

#include "transfer/messages.h"
#include "transfer/secure_socket.h"
#include "transfer/timeouts.h"

namespace vhdxm::transfer {

/// Thread safety: none; one io_context's thread. Held by a shared_ptr while its writer runs.
class ControlChannel : public std::enable_shared_from_this<ControlChannel> {
 public:
  ControlChannel(std::unique_ptr<SecureSocket> socket, const Timeouts& timeouts);

  /// Starts to send what is queued, and heartbeats.
  void start_writer();
  /// Queues a message, and returns its bytes. Never blocks: the session bounds how much there is to
  /// say.
  std::size_t send(const Message& message);
  /// The next message. Throws TransferError: kPeerClosed, kTimeout, kProtocol.
  /// Cancellation: stop_receiving() ends it. Not to be called twice at once.
  asio::awaitable<Message> receive();
  /// Waits until everything queued was sent and the peer closed, Timeouts::goodbye at most; then
  /// closes.
  asio::awaitable<void> finish();
  /// Ends a receive() under way, which throws; what is queued is still sent.
  void stop_receiving() { socket_->cancel_read(); }

  /// After Welcome.
  void allow_long_messages() { reader_.set_body_bytes_max(kBodyBytesMax); }
  SecureSocket& socket() { return *socket_; }

 private:
  asio::awaitable<void> write_loop();

  std::unique_ptr<SecureSocket> socket_;
  const Timeouts timeouts_;
  MessageReader reader_;
  std::vector<std::byte> incoming_;
  std::deque<std::vector<std::byte>> outgoing_;
  asio::steady_timer wake_;
  bool closing_ = false;
  bool written_ = false;  ///< The writer has ended.
};

}  // namespace vhdxm::transfer
