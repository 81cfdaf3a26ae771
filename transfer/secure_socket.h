// A TCP socket, with TLS or (data streams that both sides wanted so) without; coroutines.
//
// Failures are thrown: TransferError for what the peer or the network did. Every operation can be
// given a deadline; a socket whose deadline passed is closed and the operation throws kTimeout.
#pragma once

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "transfer/errc.h"
#include "transfer/preamble.h"
#include "transfer/tls_engine.h"
#include "transfer/wait_clock.h"

namespace vhdxm::transfer {

namespace asio = boost::asio;

/// What a coroutine waits with that takes an error as a value: co_await returns a tuple that begins
/// with it.
inline constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
using asio::ip::tcp;
using boost::system::system_error;

/// What ends a coroutine of this folder: the error and the class it belongs to.
class TransferError : public ErrorException {
 public:
  TransferError(Error error, FailureClass failure_class, std::string text = {})
      : ErrorException(std::move(error)), failure_class_(failure_class), text_(std::move(text)) {}
  FailureClass failure_class() const { return failure_class_; }
  /// A sentence for a person, or empty.
  const std::string& text() const { return text_; }

 private:
  FailureClass failure_class_;
  std::string text_;
};

/// Thread safety: none; one thread runs the socket's io_context.
class SecureSocket {
 public:
  /// `peer`: how errors call the other side.
  SecureSocket(tcp::socket socket, std::string peer);
  ~SecureSocket();
  SecureSocket(const SecureSocket&) = delete;
  SecureSocket& operator=(const SecureSocket&) = delete;

  /// Client: sends the preamble and, unless `plaintext`, runs TLS. Understands a refusal.
  asio::awaitable<void> connect_secure(const Preamble& preamble, const PairingKey& key,
                                       bool plaintext);
  /// Server: reads the preamble. Nothing is sent.
  asio::awaitable<Preamble> read_preamble();
  /// Server: runs TLS for a connection that began with `preamble`.
  asio::awaitable<void> accept_secure(const Preamble& preamble, const PairingKey& key);
  /// Server: answers with a refusal in place of TLS.
  asio::awaitable<void> refuse(const Refusal& refusal);

  /// One coroutine will write while another reads (control connections).
  void set_full_duplex() { full_duplex_ = true; }

  /// Sends all of the buffers; in plaintext with one gathering system call where it fits.
  asio::awaitable<void> write(std::span<const asio::const_buffer> buffers);
  /// Some bytes, at least one; 0 when the peer ended the connection in good order.
  asio::awaitable<std::size_t> read_some(std::span<std::byte> out);
  /// Fills `out`. False if the connection ended before its first byte.
  /// Throws kPeerClosed if it ended in the middle.
  asio::awaitable<bool> read_exact(std::span<std::byte> out);

  /// Operations fail from `duration` from now on, until this is called again or cleared.
  void set_deadline(std::chrono::steady_clock::duration duration);
  void clear_deadline();
  /// Says goodbye (TLS close_notify), then waits until the peer has read everything and closed, so
  /// that the last words are not lost to a reset. Under the deadline; errors do not matter any
  /// more.
  asio::awaitable<void> finish();
  /// Ends a read under way, which throws; what is being written goes on.
  void cancel_read() { read_cancel_.emit(asio::cancellation_type::terminal); }
  /// Closes without a word; operations under way end.
  void abort();
  /// Whether the peer closed or broke the connection, as far as can be told without waiting.
  bool peer_gone();
  /// Adds to `counter`, which outlives this, what the kernel takes from now on. Units: bytes.
  void count_sent(std::atomic<std::uint64_t>& counter) { sent_bytes_ = &counter; }
  /// Adds to `counter`, which outlives this, what the kernel gives from now on. Units: bytes.
  void count_received(std::atomic<std::uint64_t>& counter) { received_bytes_ = &counter; }
  /// Adds to `writing` how long writes wait for room in the kernel, and to `reading` how long reads
  /// wait for bytes, from now on. Both outlive this; null: nobody wants to know.
  void time_waits(WaitClock* writing, WaitClock* reading);

  /// Bytes that the kernel was given and the peer's has not acknowledged; 0 if it does not tell. A
  /// system call.
  std::uint64_t queued_bytes();
  /// What `bytes`, given to write() as one buffer, are on the wire: TLS adds to each record.
  std::size_t wire_bytes(std::size_t bytes) const;
  /// Keeps no more than about `bytes` waiting in the kernel that were not sent yet, so that what
  /// write() returns for is as good as on the wire. Costs system calls: for paced streams.
  void bound_unsent(int bytes);

  tcp::socket& socket() { return socket_; }
  const std::string& peer() const { return peer_; }
  const char* cipher() const { return tls_ ? tls_->cipher() : "none"; }
  /// Takes the connection apart, to go on with it on another thread's io_context.
  struct Parts {
    tcp::socket::native_handle_type handle;
    tcp protocol;
    std::optional<TlsEngine> tls;
    std::string peer;
  };
  Parts release();
  SecureSocket(asio::io_context& context, Parts parts);

 private:
  struct Watch;

  asio::awaitable<void> run_handshake();
  asio::awaitable<void> flush();
  bool has_room();
  void wake_for(std::size_t bytes);
  template <class Buffers>
  asio::awaitable<void> send(Buffers buffers);
  asio::awaitable<std::size_t> receive(std::span<std::byte> out);
  [[noreturn]] void fail(const error_code& ec, const char* where);
  [[noreturn]] void refused(std::span<const std::byte> bytes);

  tcp::socket socket_;
  std::string peer_;
  std::optional<TlsEngine> tls_;
  std::vector<std::byte> incoming_;  ///< Ciphertext on its way to the engine.
  bool full_duplex_ = false;
  int wakes_at_ = 1;     ///< The socket's SO_RCVLOWAT. Bytes.
  bool broken_ = false;  ///< An operation failed: nothing more can be said or heard.
  std::atomic<std::uint64_t>* sent_bytes_ = nullptr;
  std::atomic<std::uint64_t>* received_bytes_ = nullptr;
  WaitClock* writing_ = nullptr;
  WaitClock* reading_ = nullptr;
  asio::cancellation_signal read_cancel_;
  std::shared_ptr<Watch> watch_;
};

/// Connects to `host` (name or address) within `limit`. Throws with class kNetwork.
asio::awaitable<tcp::socket> connect_to(asio::io_context& context, const std::string& host,
                                        std::uint16_t port,
                                        std::chrono::steady_clock::duration limit);

/// "192.0.2.1:6600", "[2001:db8::1]:6600"
std::string endpoint_text(const tcp::endpoint& endpoint);
std::string endpoint_text(const std::string& host, std::uint16_t port);

}  // namespace vhdxm::transfer
