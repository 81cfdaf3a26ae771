#include "tests/net/hand_connection.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace vhdxm::transfer {
namespace {

constexpr int kNeverMs = 60'000;

bool wait_readable(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  for (;;) {
    const int ready = ::poll(&one, 1, kNeverMs);
    if (ready > 0) return true;
    if (ready < 0 && errno == EINTR) continue;
    ADD_FAILURE() << "a peer was silent for a minute";
    return false;
  }
}

}  // namespace

HandConnection HandConnection::connect(std::uint16_t port) {
  return HandConnection(test::connect_loopback(port));
}

HandConnection::HandConnection(HandConnection&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      tls_(std::move(other.tls_)),
      error_(std::move(other.error_)),
      alive_(other.alive_),
      load_(other.load_),
      messages_(std::move(other.messages_)),
      rest_(std::move(other.rest_)) {}

HandConnection& HandConnection::operator=(HandConnection&& other) noexcept {
  close();
  fd_ = std::exchange(other.fd_, -1);
  tls_ = std::move(other.tls_);
  error_ = std::move(other.error_);
  alive_ = other.alive_;
  load_ = other.load_;
  messages_ = std::move(other.messages_);
  rest_ = std::move(other.rest_);
  return *this;
}

bool HandConnection::send_raw(std::span<const std::byte> bytes) {
  return test::send_all(fd_, bytes);
}

bool HandConnection::send_raw(std::string_view text) {
  return send_raw(std::as_bytes(std::span(text)));
}

std::vector<std::byte> HandConnection::receive_raw(std::size_t most) {
  std::vector<std::byte> bytes(most);
  if (!wait_readable(fd_)) return {};
  const ssize_t got = ::recv(fd_, bytes.data(), bytes.size(), 0);
  bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return bytes;
}

std::vector<std::byte> HandConnection::receive_raw_exactly(std::size_t count) {
  std::vector<std::byte> bytes;
  while (bytes.size() < count) {
    const auto more = receive_raw(count - bytes.size());
    if (more.empty()) break;
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
  return bytes;
}

bool HandConnection::flush() {
  const bool sent = send_raw(tls_->pending());
  tls_->consume(tls_->pending().size());
  return sent;
}

bool HandConnection::run_tls(TlsEngine::Role role, const PairingKey& key,
                             std::span<const std::byte> context) {
  tls_.emplace(role, key, context);
  for (;;) {
    const auto done = tls_->handshake();
    const bool sent = flush();
    if (done.has_error()) {
      error_ = done.error();
      return false;
    }
    if (*done) return sent;
    const auto bytes = receive_raw();
    if (bytes.empty()) return false;
    tls_->feed(bytes);
  }
}

bool HandConnection::send(std::span<const std::byte> bytes) {
  if (!tls_) return send_raw(bytes);
  if (tls_->write(bytes).has_error()) return false;
  return flush();
}

bool HandConnection::send(const FrameHeader& header, std::span<const std::byte> payload) {
  const FrameHeaderBytes head = encode(header);
  std::vector<std::byte> bytes(head.begin(), head.end());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return send(bytes);
}

std::vector<std::byte> HandConnection::receive_some() {
  if (!rest_.empty()) return std::exchange(rest_, {});
  if (!tls_) return receive_raw();
  std::vector<std::byte> out(65536);
  for (;;) {
    const auto got = tls_->read(out);
    if (got.has_error()) {
      error_ = got.error();
      return {};
    }
    if (*got > 0) {
      out.resize(*got);
      return out;
    }
    const auto bytes = receive_raw();
    if (bytes.empty()) return {};
    tls_->feed(bytes);
  }
}

std::vector<std::byte> HandConnection::receive_exactly(std::size_t count) {
  if (count == 0) return {};  // and keep the rest
  std::vector<std::byte> bytes = std::exchange(rest_, {});
  while (bytes.size() < count) {
    const auto more = receive_some();
    if (more.empty()) return bytes;
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
  rest_.assign(bytes.begin() + static_cast<std::ptrdiff_t>(count), bytes.end());
  bytes.resize(count);
  return bytes;
}

std::optional<Message> HandConnection::receive() {
  for (;;) {
    auto message = messages_.next();
    if (message.has_error()) {
      ADD_FAILURE() << describe(message.error());
      return std::nullopt;
    }
    // What comes by the clock, and needs no answer.
    if (*message && std::holds_alternative<Heartbeat>(**message)) {
      if (alive_) send(Heartbeat{});
      if (load_) send(Load{});
      continue;
    }
    if (*message && std::holds_alternative<Load>(**message)) continue;
    if (*message) return std::move(**message);
    const auto bytes = receive_some();
    if (bytes.empty()) return std::nullopt;
    messages_.feed(bytes);
  }
}

void HandConnection::report_unexpected(const std::optional<Message>& message) {
  if (!message) {
    ADD_FAILURE() << "the connection ended where a message should have come";
  } else if (const auto* fail = std::get_if<Fail>(&*message)) {
    ADD_FAILURE() << "Fail: " << fail->text;
  } else {
    ADD_FAILURE() << name_of(*message) << " came";
  }
}

void HandConnection::wait_for_close() {
  while (!receive_raw().empty()) {
  }
}

void HandConnection::end_writing() {
  ::shutdown(fd_, SHUT_WR);
}

void HandConnection::close_in_good_order() {
  if (tls_) {
    tls_->close();
    flush();
  }
  end_writing();
  wait_for_close();
  close();
}

void HandConnection::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

HandConnection HandListener::accept() {
  if (!wait_readable(listener_.fd())) return HandConnection(-1);
  return HandConnection(listener_.accept());
}

}  // namespace vhdxm::transfer
