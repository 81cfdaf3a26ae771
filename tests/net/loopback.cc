#include "tests/net/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/check.h"

namespace vhdxm::test {
namespace {

sockaddr_in loopback_address(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int new_socket() {
  return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

}  // namespace

int connect_loopback(std::uint16_t port) {
  const int fd = new_socket();
  const sockaddr_in address = loopback_address(port);
  (void)::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return fd;
}

bool send_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return true;
}

LoopbackListener::LoopbackListener() : fd_(new_socket()) {
  sockaddr_in address = loopback_address(0);
  socklen_t length = sizeof address;
  VHDXM_CHECK(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), length) == 0);
  VHDXM_CHECK(::listen(fd_, 64) == 0);
  VHDXM_CHECK(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  port_ = ntohs(address.sin_port);
}

LoopbackListener::~LoopbackListener() {
  ::close(fd_);
}

int LoopbackListener::accept() {
  return ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
}

void LoopbackListener::stop() {
  ::shutdown(fd_, SHUT_RDWR);
}

Relay::Relay(std::uint16_t target_port, ConnectionFunction on_connection)
    : target_port_(target_port),
      on_connection_(std::move(on_connection)),
      thread_([this] { run(); }) {}

void Relay::stop() {
  listener_.stop();
  if (thread_.joinable()) thread_.join();
}

void Relay::run() {
  for (std::size_t number = 0;; ++number) {
    const int client = listener_.accept();
    if (client < 0) return;
    on_connection_(number, client, connect_loopback(target_port_));
  }
}

}  // namespace vhdxm::test
