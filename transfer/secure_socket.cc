#include "transfer/secure_socket.h"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/write.hpp>
#include <tuple>
#include <utility>

#include "transfer/unshared_socket.h"

namespace vhdxm::transfer {
namespace {

// One system call moves about this much ciphertext: 16 records. Larger reads measured no better.
constexpr std::size_t kCiphertextBytes = 256 * 1024;
// A reader that wants more is woken when so much is there, not for every packet. Measured against
// 64 and 256 KiB (docs/performance.md).
constexpr std::size_t kWakeBytesMax = 128 * 1024;
// Less is not worth the system call.
constexpr std::size_t kWakeBytesMin = 16 * 1024;
// RFC 8446, 5.2: header, content, and what encryption may add.
constexpr std::size_t kRecordBytesMax = 5 + 16 * 1024 + 256;
// A handshake is some hundred bytes. Who has proved nothing yet costs no more than this.
constexpr std::size_t kHandshakeReadBytes = 16 * 1024;
// Control carries messages, not payload.
constexpr std::size_t kControlReadBytes = 64 * 1024;
// Asio sends 64 KiB at a time unless told otherwise.
constexpr std::size_t kSendBytesMax = 4 * 1024 * 1024;

bool is_end_of_connection(const error_code& ec) {
  return ec == asio::error::eof || ec == asio::error::connection_reset ||
         ec == asio::error::broken_pipe;
}

}  // namespace

// Outlives the socket in the timer's handler, which must not touch a socket that is gone.
struct SecureSocket::Watch {
  explicit Watch(SecureSocket& owner) : socket(&owner), timer(owner.socket_.get_executor()) {}
  SecureSocket* socket;
  asio::steady_timer timer;
  std::uint64_t generation = 0;
  bool expired = false;
};

SecureSocket::SecureSocket(tcp::socket socket, std::string peer)
    : socket_(std::move(socket)), peer_(std::move(peer)), watch_(std::make_shared<Watch>(*this)) {
  error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
}

SecureSocket::SecureSocket(asio::io_context& context, Parts parts)
    : SecureSocket(tcp::socket(context, parts.protocol, parts.handle), std::move(parts.peer)) {
  tls_ = std::move(parts.tls);
}

SecureSocket::~SecureSocket() {
  watch_->socket = nullptr;
  clear_deadline();  // a timer left running would keep the io_context running
}

SecureSocket::Parts SecureSocket::release() {
  clear_deadline();
  if (tls_) tls_->keep_lent();
  const tcp protocol = socket_.local_endpoint().protocol();
  return Parts{.handle = socket_.release(),
               .protocol = protocol,
               .tls = std::exchange(tls_, std::nullopt),
               .peer = peer_};
}

void SecureSocket::set_deadline(std::chrono::steady_clock::duration duration) {
  const std::uint64_t generation = ++watch_->generation;
  watch_->timer.expires_after(duration);
  watch_->timer.async_wait([watch = watch_, generation](const error_code& ec) {
    if (ec || watch->socket == nullptr || watch->generation != generation) return;
    watch->expired = true;
    watch->socket->abort();
  });
}

void SecureSocket::clear_deadline() {
  ++watch_->generation;
  watch_->timer.cancel();
}

void SecureSocket::abort() {
  clear_deadline();
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
}

bool SecureSocket::peer_gone() {
  std::array<char, 1> byte{};
  const ssize_t got =
      ::recv(socket_.native_handle(), byte.data(), byte.size(), MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

std::uint64_t SecureSocket::queued_bytes() {
  int bytes = 0;
  if (::ioctl(socket_.native_handle(), SIOCOUTQ, &bytes) != 0 || bytes < 0) return 0;
  return static_cast<std::uint64_t>(bytes);
}

void SecureSocket::time_waits(WaitClock* writing, WaitClock* reading) {
  writing_ = writing;
  reading_ = reading;
}

bool SecureSocket::has_room() {
  pollfd one{.fd = socket_.native_handle(), .events = POLLOUT, .revents = 0};
  return ::poll(&one, 1, 0) > 0;
}

void SecureSocket::fail(const error_code& ec, const char* where) {
  if (ec != asio::error::operation_aborted) broken_ = true;
  if (watch_->expired) {
    throw TransferError(Error{.code = Errc::kTimeout, .where = where, .subject = peer_},
                        FailureClass::kNetwork);
  }
  if (is_end_of_connection(ec)) {
    throw TransferError(Error{.code = Errc::kPeerClosed, .where = where, .subject = peer_},
                        FailureClass::kNetwork);
  }
  throw TransferError(Error{.code = ec, .where = where, .subject = peer_}, FailureClass::kNetwork);
}

asio::awaitable<std::size_t> SecureSocket::receive(std::span<std::byte> out) {
  error_code ignored;
  const bool wait = reading_ != nullptr && socket_.available(ignored) == 0;
  const Waiting waiting(wait ? reading_ : nullptr);
  auto [ec, got] =
      co_await socket_.async_read_some(asio::buffer(out.data(), out.size()),
                                       asio::bind_cancellation_slot(read_cancel_.slot(), kAsTuple));
  if (ec == asio::error::eof) co_return 0;
  if (ec) fail(ec, "reading");
  if (received_bytes_ != nullptr) received_bytes_->fetch_add(got, std::memory_order_relaxed);
  co_return got;
}

template <class Buffers>
asio::awaitable<void> SecureSocket::send(Buffers buffers) {
  // Asio waits for the socket to become writable after a write that failed: for ever.
  if (broken_) fail(asio::error::broken_pipe, "writing");
  std::size_t counted = 0;
  if (writing_ != nullptr && !has_room()) writing_->begin(std::chrono::steady_clock::now());
  // Asked before every system call how much it may move; not after the last one. The kernel takes
  // all it has room for: whatever is left after a call waits.
  const auto next = [this, counter = sent_bytes_, &counted, total = asio::buffer_size(buffers)](
                        const error_code& ec, std::size_t done) -> std::size_t {
    if (counter != nullptr) counter->fetch_add(done - counted, std::memory_order_relaxed);
    if (writing_ != nullptr && done != counted) {
      const auto now = std::chrono::steady_clock::now();
      writing_->end(now);
      if (done < total) writing_->begin(now);
    }
    counted = done;
    return ec ? 0 : kSendBytesMax;
  };
  auto [ec, put] = co_await asio::async_write(socket_, std::move(buffers), next, kAsTuple);
  if (writing_ != nullptr) writing_->end(std::chrono::steady_clock::now());
  if (sent_bytes_ != nullptr) sent_bytes_->fetch_add(put - counted, std::memory_order_relaxed);
  if (ec) fail(ec, "writing");
}

asio::awaitable<void> SecureSocket::flush() {
  if (full_duplex_) {
    // A reader may make the engine speak (a key update) while bytes are under way: send a copy.
    while (!tls_->pending().empty()) {
      const auto pending = tls_->pending();
      const std::vector<std::byte> bytes(pending.begin(), pending.end());
      tls_->consume(bytes.size());
      co_await send(asio::buffer(bytes));
    }
    co_return;
  }
  while (!tls_->pending().empty()) {
    const auto bytes = tls_->pending();
    co_await send(asio::buffer(bytes.data(), bytes.size()));
    tls_->consume(bytes.size());
  }
}

void SecureSocket::refused(std::span<const std::byte> bytes) {
  Result<Refusal> refusal = Error{.code = Errc::kNotOurProtocol};
  if (bytes.size() >= kPreambleBytes) refusal = decode_refusal(bytes.first<kPreambleBytes>());
  if (refusal.has_error()) {
    throw TransferError(Error{.code = Errc::kNotOurProtocol, .subject = peer_},
                        FailureClass::kNetwork,
                        "What listens at " + peer_ + " is not vhdx-migrate.");
  }
  switch (refusal->reason) {
    case RefusalReason::kVersion:
      throw TransferError(
          Error{.code = Errc::kVersion, .subject = peer_}, FailureClass::kIncompatible,
          fmt::format("{} speaks versions {} to {} of the protocol, this program version {}.",
                      peer_, refusal->version_min, refusal->version_max, kProtocolVersion));
    case RefusalReason::kKind:
      throw TransferError(Error{.code = Errc::kRefused, .subject = peer_}, FailureClass::kFailed,
                          peer_ + " does not take this kind of connection.");
    case RefusalReason::kBusy:
      break;
  }
  throw TransferError(Error{.code = Errc::kBusy, .subject = peer_}, FailureClass::kNetwork,
                      peer_ + " has as many connections as it takes now.");
}

asio::awaitable<void> SecureSocket::run_handshake() {
  incoming_.resize(kHandshakeReadBytes);
  bool first = true;
  for (;;) {
    auto done = tls_->handshake();
    if (done.has_error()) {
      // An alert may tell the peer; whether it still listens does not matter.
      const auto alert = tls_->pending();
      error_code ignored;
      socket_.send(asio::buffer(alert.data(), alert.size()), MSG_DONTWAIT, ignored);
      Error error = std::move(done).error();
      // What floods a handshake has no key to prove either way: it is some other program.
      const bool foreign = error.code == Errc::kNotOurProtocol || error.code == Errc::kTooLarge;
      throw TransferError(std::move(error).about(peer_),
                          foreign ? FailureClass::kNetwork : FailureClass::kAuthentication);
    }
    co_await flush();
    if (*done) break;
    std::size_t got = co_await receive(incoming_);
    if (got == 0) {
      throw TransferError(
          Error{.code = Errc::kPeerClosed, .where = "during the handshake", .subject = peer_},
          FailureClass::kNetwork);
    }
    // TLS records begin with 20..24; a refusal or a stranger's greeting does not.
    if (first && (incoming_[0] < std::byte{20} || incoming_[0] > std::byte{24})) {
      while (got < kPreambleBytes) {
        const std::size_t more = co_await receive(std::span(incoming_).subspan(got));
        if (more == 0) break;
        got += more;
      }
      refused(std::span(incoming_).first(got));
    }
    first = false;
    tls_->feed(std::span(incoming_).first(got));
  }
}

asio::awaitable<void> SecureSocket::connect_secure(const Preamble& preamble, const PairingKey& key,
                                                   bool plaintext) {
  const PreambleBytes bytes = encode(preamble);
  co_await send(asio::buffer(bytes));
  if (plaintext) co_return;
  tls_.emplace(TlsEngine::Role::kClient, key, bytes);
  co_await run_handshake();
}

asio::awaitable<Preamble> SecureSocket::read_preamble() {
  PreambleBytes bytes{};
  for (std::size_t done = 0; done < bytes.size();) {
    const std::size_t got = co_await receive(std::span(bytes).subspan(done));
    if (got == 0) {
      throw TransferError(
          Error{.code = Errc::kPeerClosed, .where = "before its first words", .subject = peer_},
          FailureClass::kNetwork);
    }
    done += got;
  }
  auto preamble = decode_preamble(bytes);
  if (preamble.has_error()) {
    throw TransferError(std::move(preamble).error().about(peer_), FailureClass::kFailed);
  }
  co_return *preamble;
}

asio::awaitable<void> SecureSocket::accept_secure(const Preamble& preamble, const PairingKey& key) {
  tls_.emplace(TlsEngine::Role::kServer, key, encode(preamble));
  co_await run_handshake();
}

asio::awaitable<void> SecureSocket::refuse(const Refusal& refusal) {
  const PreambleBytes bytes = encode(refusal);
  co_await send(asio::buffer(bytes));
}

asio::awaitable<void> SecureSocket::finish() {
  if (broken_) co_return;
  try {
    if (tls_) {
      tls_->close();
      co_await flush();
    }
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    if (incoming_.empty()) incoming_.resize(kHandshakeReadBytes);
    while (co_await receive(incoming_) > 0) {
    }
  } catch (const TransferError&) {
  }
  abort();
}

asio::awaitable<void> SecureSocket::write(std::span<const asio::const_buffer> buffers) {
  if (!tls_) {
    // A copy of the pointers, not of the bytes.
    co_await send(std::vector<asio::const_buffer>(buffers.begin(), buffers.end()));
    co_return;
  }
  for (const asio::const_buffer& buffer : buffers) {
    // In pieces: what was encrypted is sent while it is still in the cache.
    std::span<const std::byte> rest(static_cast<const std::byte*>(buffer.data()), buffer.size());
    while (!rest.empty()) {
      const auto piece = rest.first(std::min(rest.size(), kCiphertextBytes));
      rest = rest.subspan(piece.size());
      auto written = tls_->write(piece);
      if (written.has_error()) {
        throw TransferError(std::move(written).error().about(peer_), FailureClass::kNetwork);
      }
      if (tls_->pending().size() >= kCiphertextBytes) co_await flush();
    }
  }
  co_await flush();
}

std::size_t SecureSocket::wire_bytes(std::size_t bytes) const {
  return tls_ ? TlsEngine::wire_bytes(bytes) : bytes;
}

void SecureSocket::bound_unsent(int bytes) {
  // A kernel that cannot do it sends as fast as it would anyway.
  (void)::setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

asio::awaitable<std::size_t> SecureSocket::read_some(std::span<std::byte> out) {
  if (!tls_) co_return co_await receive(out);
  // Nothing is lent before the first call, and the size does not change after it.
  incoming_.resize(full_duplex_ ? kControlReadBytes : kCiphertextBytes);
  for (;;) {
    auto got = tls_->read(out);
    if (got.has_error()) {
      if (got.error().code == Errc::kPeerClosed) co_return 0;
      throw TransferError(std::move(got).error().about(peer_), FailureClass::kNetwork);
    }
    if (*got > 0) co_return *got;
    const std::size_t more = co_await receive(incoming_);
    if (more == 0) {
      // The end of the connection without TLS's goodbye may have been forged: never an orderly end.
      throw TransferError(Error{.code = Errc::kPeerClosed, .where = "reading", .subject = peer_},
                          FailureClass::kNetwork);
    }
    tls_->lend(std::span(incoming_).first(more));
  }
}

// Lets the kernel wake the reader once most of `bytes`, which it needs, are there; never more than
// are sure to come: what the TLS engine has of a record comes no more. 0: for every byte.
void SecureSocket::wake_for(std::size_t bytes) {
  if (tls_) bytes -= std::min(bytes, kRecordBytesMax);
  const int wanted = bytes < kWakeBytesMin ? 1 : static_cast<int>(std::min(bytes, kWakeBytesMax));
  if (wanted == wakes_at_) return;
  // A kernel that cannot do it wakes the reader more often.
  (void)::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVLOWAT, &wanted, sizeof wanted);
  wakes_at_ = wanted;
}

asio::awaitable<bool> SecureSocket::read_exact(std::span<std::byte> out) {
  for (std::size_t done = 0; done < out.size();) {
    wake_for(out.size() - done);
    const std::size_t got = co_await read_some(out.subspan(done));
    if (got == 0) {
      if (done == 0) co_return false;
      throw TransferError(
          Error{.code = Errc::kPeerClosed, .where = "in the middle of a frame", .subject = peer_},
          FailureClass::kNetwork);
    }
    done += got;
  }
  wake_for(0);
  co_return true;
}

asio::awaitable<tcp::socket> connect_to(asio::io_context& context, const std::string& host,
                                        std::uint16_t port,
                                        std::chrono::steady_clock::duration limit) {
  tcp::resolver resolver(context);
  auto [resolve_error, endpoints] =
      co_await resolver.async_resolve(host, std::to_string(port), kAsTuple);
  if (resolve_error) {
    throw TransferError(
        Error{.code = resolve_error, .where = "looking up the name", .subject = host},
        FailureClass::kNetwork, fmt::format("The host name {} cannot be looked up.", host));
  }
  tcp::socket socket(context);
  // One timer over all addresses: closing the socket ends the connect under way. The handler may
  // still be queued when this coroutine goes on, so it asks whether the socket is there.
  struct Attempt {
    tcp::socket* socket;
    bool expired;
  };
  auto attempt = std::make_shared<Attempt>(Attempt{&socket, false});
  asio::steady_timer timer(context, limit);
  timer.async_wait([attempt](const error_code& ec) {
    if (ec || attempt->socket == nullptr) return;
    attempt->expired = true;
    error_code ignored;
    attempt->socket->close(ignored);
  });
  error_code ec = asio::error::host_not_found;
  for (const auto& entry : endpoints) {
    const tcp::endpoint endpoint = entry.endpoint();
    error_code ignored;
    socket.close(ignored);
    ec = open_unshared(socket, endpoint.protocol());
    if (!ec) std::tie(ec) = co_await socket.async_connect(endpoint, kAsTuple);
    if (!ec || attempt->expired) break;
  }
  attempt->socket = nullptr;
  timer.cancel();
  const bool late = attempt->expired;
  if (ec || late) {
    const std::string peer = endpoint_text(host, port);
    throw TransferError(Error{.code = late ? make_error_code(Errc::kTimeout) : ec,
                              .where = "connecting",
                              .subject = peer},
                        FailureClass::kNetwork,
                        late ? fmt::format("{} does not answer.", peer)
                             : fmt::format("Nothing listens at {}, or it cannot be reached: {}.",
                                           peer, ec.message()));
  }
  co_return socket;
}

std::string endpoint_text(const std::string& host, std::uint16_t port) {
  if (host.find(':') != std::string::npos) return fmt::format("[{}]:{}", host, port);
  return fmt::format("{}:{}", host, port);
}

std::string endpoint_text(const tcp::endpoint& endpoint) {
  auto address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return endpoint_text(address.to_string(), endpoint.port());
}

}  // namespace vhdxm::transfer
