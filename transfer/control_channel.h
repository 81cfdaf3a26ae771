// The control connection of a job: whole messages in and out, and a sign of life in between.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "transfer/control_pacer.h"
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
  /// What is sent counts against this limit, and waits for it if it is long. Before start_writer().
  void limit_by(RateLimiter& limiter) { pacer_.emplace(limiter); }
  /// Queues a message. Never blocks: the session bounds how much there is to say.
  void send(const Message& message);
  /// The next message. Throws TransferError: kPeerClosed, kTimeout, kProtocol.
  /// Cancellation: stop_receiving() ends it. Not to be called twice at once.
  asio::awaitable<Message> receive();
  /// Waits until everything queued was sent and the peer closed, Timeouts::goodbye at most; then
  /// closes.
  asio::awaitable<void> finish();
  /// Ends a receive() under way, which throws; what is queued is still sent.
  void stop_receiving() { socket_->cancel_read(); }

  /// After Welcome.
  void allow_long_messages(bool allow = true) {
    reader_.set_body_bytes_max(allow ? kBodyBytesMax : kEarlyBodyBytesMax);
  }
  SecureSocket& socket() { return *socket_; }
  /// Whether something is queued that the connection did not take yet.
  bool has_unsent() const { return writing_ || !outgoing_.empty(); }
  /// Bytes of messages that the connection took so far, but for heartbeats.
  std::uint64_t sent_bytes() const { return sent_bytes_; }

 private:
  asio::awaitable<void> write_loop();
  asio::awaitable<void> write_message(std::span<const std::byte> message);

  std::unique_ptr<SecureSocket> socket_;
  const Timeouts timeouts_;
  MessageReader reader_;
  std::vector<std::byte> incoming_;
  std::deque<std::vector<std::byte>> outgoing_;
  std::optional<ControlPacer> pacer_;
  bool writing_ = false;  ///< One that is not in outgoing_ any more.
  std::uint64_t sent_bytes_ = 0;
  asio::steady_timer wake_;
  bool closing_ = false;
  bool written_ = false;  ///< The writer has ended.
};

}  // namespace vhdxm::transfer
