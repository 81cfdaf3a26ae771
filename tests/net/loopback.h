// Sockets of 127.0.0.1, for tests that stand in for a peer or between two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>

namespace vhdxm::test {

/// Connects to a port of 127.0.0.1. Returns the descriptor, connected or not: who reads from one
/// that is not learns it there.
int connect_loopback(std::uint16_t port);

/// False if the other side is gone.
bool send_all(int fd, std::span<const std::byte> bytes);

/// A listening socket at a free port of 127.0.0.1.
class LoopbackListener {
 public:
  LoopbackListener();
  ~LoopbackListener();
  LoopbackListener(const LoopbackListener&) = delete;
  LoopbackListener& operator=(const LoopbackListener&) = delete;

  std::uint16_t port() const { return port_; }
  int fd() const { return fd_; }
  /// The next connection; negative after stop().
  int accept();
  /// From any thread.
  void stop();

 private:
  int fd_ = -1;
  std::uint16_t port_ = 0;
};

/// Accepts connections in a thread of its own, and makes another to a port for each: what a proxy
/// does before it does anything else.
class Relay {
 public:
  /// Called from that thread, with the number of the connection, from 0. The descriptors are its
  /// to close.
  using ConnectionFunction = std::function<void(std::size_t number, int client, int server)>;

  Relay(std::uint16_t target_port, ConnectionFunction on_connection);
  ~Relay() { stop(); }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  std::uint16_t port() const { return listener_.port(); }
  /// Accepts no more, and waits until the function is not called any more.
  void stop();

 private:
  void run();

  const std::uint16_t target_port_;
  const ConnectionFunction on_connection_;
  LoopbackListener listener_;
  std::thread thread_;
};

}  // namespace vhdxm::test
