// A link with length between a sender and a receiver, in user space: rate, delay, loss.
//
// Every connection's bytes wait here until they would have arrived. All connections share one link
// for each direction. Loss is emulated as what it is to a program: the bytes behind the lost ones
// come one round trip later, in order; TCP's own response to loss (a smaller window) is not.
// Because this proxy ends both TCP connections, TCP's window is emulated too: no more than `window`
// bytes of a connection are on their way in a direction.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/net/loopback.h"

namespace vhdxm::test {

class DelayProxy {
 public:
  struct Link {
    std::uint64_t bytes_per_second = 0;
    std::chrono::microseconds one_way{0};
    double loss = 0;  ///< Probability for each piece of at most 64 KiB.
    std::uint64_t window_bytes = 4 * 1024 * 1024;
    std::uint64_t seed = 1;
  };

  /// Listens at a free port of 127.0.0.1, and connects to `target_port` there.
  DelayProxy(std::uint16_t target_port, Link link);
  /// Breaks what is still open.
  ~DelayProxy();
  DelayProxy(const DelayProxy&) = delete;
  DelayProxy& operator=(const DelayProxy&) = delete;

  std::uint16_t port() const { return relay_.port(); }

 private:
  class Direction;
  class Connection;
  /// The wire, which all connections of a direction share.
  struct Wire {
    std::mutex mutex;
    std::chrono::steady_clock::time_point free;  ///< Protected by mutex.
  };

  const Link link_;
  Wire up_;
  Wire down_;
  std::vector<std::unique_ptr<Connection>> connections_;  ///< The relay's, until it is stopped.
  Relay relay_;
};

}  // namespace vhdxm::test
