// A connection driven by hand, blocking: raw bytes, TLS, messages and frames, right or wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tests/net/loopback.h"
#include "transfer/frame.h"
#include "transfer/messages.h"
#include "transfer/pairing_key.h"
#include "transfer/preamble.h"
#include "transfer/tls_engine.h"

namespace vhdxm::transfer {

/// Nothing here waits longer than a minute; what takes so long adds a test failure.
class HandConnection {
 public:
  /// To 127.0.0.1.
  static HandConnection connect(std::uint16_t port);
  explicit HandConnection(int fd) : fd_(fd) {}
  ~HandConnection() { close(); }
  HandConnection(HandConnection&& other) noexcept;
  HandConnection& operator=(HandConnection&& other) noexcept;

  // Bytes as they are on the wire. False: the peer is gone.
  bool send_raw(std::span<const std::byte> bytes);
  bool send_raw(std::string_view text);
  /// Some bytes; none at the end of the connection, however it ends.
  std::vector<std::byte> receive_raw(std::size_t most = 65536);
  /// So many bytes, fewer if the connection ends first.
  std::vector<std::byte> receive_raw_exactly(std::size_t count);

  /// Runs TLS. False: the handshake failed or the peer is gone; error() says how.
  bool run_tls(TlsEngine::Role role, const PairingKey& key, std::span<const std::byte> context);
  const std::optional<Error>& error() const { return error_; }

  // Inside TLS, or without if it was not run.
  bool send(std::span<const std::byte> bytes);
  bool send(const Message& message) { return send(std::span<const std::byte>(encode(message))); }
  bool send(const FrameHeader& header, std::span<const std::byte> payload = {});
  std::vector<std::byte> receive_some();
  /// Fewer if the connection ends first.
  std::vector<std::byte> receive_exactly(std::size_t count);
  /// From now on receive() answers every Heartbeat with another, and with a Load if `load` is set:
  /// a peer that is alive, whatever else it does not say.
  void stay_alive(bool load = false) {
    alive_ = true;
    load_ = load;
  }
  /// The next message but Heartbeat and Load; nothing at the end of the connection.
  std::optional<Message> receive();
  /// The next message, which must be of this type.
  template <class T>
  T expect() {
    const auto message = receive();
    if (message && std::holds_alternative<T>(*message)) return std::get<T>(*message);
    report_unexpected(message);
    return T{};
  }
  /// Reads until the peer has closed or broken the connection.
  void wait_for_close();

  /// Sends no more; goes on reading.
  void end_writing();
  /// TLS goodbye first, if it was run.
  void close_in_good_order();
  void close();
  int fd() const { return fd_; }

 private:
  void report_unexpected(const std::optional<Message>& message);
  bool flush();

  int fd_ = -1;
  std::optional<TlsEngine> tls_;
  std::optional<Error> error_;
  bool alive_ = false;
  bool load_ = false;
  MessageReader messages_{kBodyBytesMax};
  std::vector<std::byte> rest_;  ///< Read, not taken yet.
};

/// A listening socket at a free port of 127.0.0.1.
class HandListener {
 public:
  std::uint16_t port() const { return listener_.port(); }
  HandConnection accept();

 private:
  test::LoopbackListener listener_;
};

}  // namespace vhdxm::transfer
