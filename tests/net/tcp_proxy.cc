#include "tests/net/tcp_proxy.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <utility>

namespace vhdxm::test {
namespace {

// close() then resets the connection instead of ending it in good order.
void set_reset(int fd) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

}  // namespace

struct TcpProxy::Connection {
  Connection(int client, int server, ProxyRule given) : fds{client, server}, rule(given) {}
  ~Connection() {
    shut_down();
    for (std::thread& thread : pumps) {
      if (thread.joinable()) thread.join();
    }
    for (const int fd : fds) ::close(fd);
  }

  void start() {
    pumps[0] = std::thread([this] { pump(0, rule.up); });
    pumps[1] = std::thread([this] { pump(1, rule.down); });
  }

  // What one side says, until it ends or the fault strikes.
  void pump(std::size_t from, const ProxyFault& fault) {
    const int in = fds[from];
    const int out = fds[1 - from];
    std::uint64_t passed = 0;
    std::array<std::byte, 16384> buffer{};
    for (;;) {
      std::size_t room = buffer.size();
      const bool struck = fault.kind != ProxyFault::Kind::kNone && passed >= fault.after_bytes;
      if (struck && fault.kind == ProxyFault::Kind::kCut) return cut();
      if (struck && fault.kind == ProxyFault::Kind::kHalfClose) break;
      if (fault.kind != ProxyFault::Kind::kNone && !struck) {
        room = static_cast<std::size_t>(std::min<std::uint64_t>(room, fault.after_bytes - passed));
      }
      const ssize_t got = ::recv(in, buffer.data(), room, 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return cut();
      if (got == 0) break;
      const auto bytes = std::span(buffer).first(static_cast<std::size_t>(got));
      if (struck && fault.kind == ProxyFault::Kind::kStall) continue;
      if (fault.kind == ProxyFault::Kind::kFlip && passed == fault.after_bytes) {
        bytes.front() ^= std::byte{0x10};
      }
      passed += bytes.size();
      {
        const std::lock_guard lock(mutex);
        recorded[from].insert(recorded[from].end(), bytes.begin(), bytes.end());
      }
      if (!send_all(out, bytes)) return cut();  // gone: the other side learns it at once
    }
    ::shutdown(out, SHUT_WR);
  }

  void cut() {
    for (const int fd : fds) {
      set_reset(fd);
      // A reset is sent by close() alone, which another thread must not see: this does as much.
      sockaddr unspecified{};
      unspecified.sa_family = AF_UNSPEC;
      // ThreadSanitizer takes connect() for the making of the descriptor, and the other pump's use
      // of it for a race: so by its number.
      ::syscall(SYS_connect, fd, &unspecified, sizeof unspecified);
    }
  }

  void shut_down() {
    for (const int fd : fds) ::shutdown(fd, SHUT_RDWR);
  }

  const std::array<int, 2> fds;  ///< The sender's, the receiver's.
  const ProxyRule rule;
  std::array<std::thread, 2> pumps;
  std::mutex mutex;
  std::array<std::vector<std::byte>, 2> recorded;  ///< Protected by mutex.
};

TcpProxy::TcpProxy(std::uint16_t target_port, RuleFunction rule)
    : rule_(std::move(rule)),
      relay_(target_port, [this](std::size_t number, int client, int server) {
        auto connection =
            std::make_unique<Connection>(client, server, rule_ ? rule_(number) : ProxyRule{});
        const std::lock_guard lock(mutex_);
        connections_.push_back(std::move(connection));
        connections_.back()->start();
      }) {}

TcpProxy::~TcpProxy() {
  relay_.stop();
  connections_.clear();
}

std::size_t TcpProxy::connection_count() const {
  const std::lock_guard lock(mutex_);
  return connections_.size();
}

std::vector<std::byte> TcpProxy::recorded() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::byte> all;
  for (const auto& connection : connections_) {
    const std::lock_guard inner(connection->mutex);
    for (const auto& bytes : connection->recorded)
      all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

std::vector<std::byte> TcpProxy::recorded_up(std::size_t connection) const {
  const std::lock_guard lock(mutex_);
  if (connection >= connections_.size()) return {};
  const std::lock_guard inner(connections_[connection]->mutex);
  return connections_[connection]->recorded[0];
}

std::uint64_t TcpProxy::bytes_up(std::size_t connection) const {
  const std::lock_guard lock(mutex_);
  if (connection >= connections_.size()) return 0;
  const std::lock_guard inner(connections_[connection]->mutex);
  return connections_[connection]->recorded[0].size();
}

}  // namespace vhdxm::test
