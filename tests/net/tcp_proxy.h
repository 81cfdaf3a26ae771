// A relay between a sender and a receiver that records, cuts, damages or stalls what passes.
//
// A move's first connection is its control connection, the others are its data streams. What is
// done to a connection is decided by its number, and by how many bytes have passed: no clock.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "tests/net/loopback.h"

namespace vhdxm::test {

/// What is done to one direction of a connection.
struct ProxyFault {
  enum class Kind : std::uint8_t {
    kNone,
    kCut,        ///< Both sides get a reset.
    kHalfClose,  ///< The reading side is told that the stream ended; the other way goes on.
    kStall,      ///< Bytes are taken and never passed on.
    kFlip,       ///< One bit of the byte is flipped.
  };
  Kind kind = Kind::kNone;
  std::uint64_t after_bytes = 0;  ///< So many bytes pass first.
};

struct ProxyRule {
  ProxyFault up = {};    ///< What the sender says.
  ProxyFault down = {};  ///< What the receiver says.
};

class TcpProxy {
 public:
  /// `rule`: for the connection of that number, from 0. Called from the proxy's thread.
  using RuleFunction = std::function<ProxyRule(std::size_t connection)>;

  explicit TcpProxy(std::uint16_t target_port, RuleFunction rule = {});
  /// Breaks what is still open.
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  std::uint16_t port() const { return relay_.port(); }
  std::size_t connection_count() const;
  /// Everything that passed, of all connections, one after the other.
  std::vector<std::byte> recorded() const;
  /// What the sender said on that connection.
  std::vector<std::byte> recorded_up(std::size_t connection) const;
  /// Bytes that the sender said on that connection.
  std::uint64_t bytes_up(std::size_t connection) const;

 private:
  struct Connection;

  const RuleFunction rule_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> connections_;  ///< Protected by mutex_.
  Relay relay_;
};

}  // namespace vhdxm::test
