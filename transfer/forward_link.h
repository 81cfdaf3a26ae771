// A connection to the NBD server that has a disk now, for the host that handed it over.
//
// Requests of clients that are connected to the old host go through it (`move --after forward`).
// docs/protocol.md, "Forwarded requests".
#pragma once

#include <boost/system/result.hpp>
#include <memory>
#include <string>

#include "transfer/errc.h"
#include "transfer/messages.h"
#include "transfer/pairing_key.h"
#include "transfer/preamble.h"
#include "transfer/timeouts.h"

namespace vhdxm::transfer {

struct ForwardTarget {
  std::string host;
  std::uint16_t port = 0;
  PairingKey key;
  JobId job{};         ///< That handed the disk over.
  std::string folder;  ///< Of the receiver, by its name; empty: the usual.
  std::string name;    ///< Of the disk there.
  Timeouts timeouts = {};
};

/// Thread safety: none but what each member says. It has a thread of its own, in which signals are
/// blocked.
class ForwardLink {
 public:
  /// Connects, authenticates, and asks for the disk; `target.timeouts.handshake` at most for each
  /// of the first two, and twice that for the last. Errors: those of connecting; what the receiver
  /// said, of which Errc::kBusy may be different in a moment.
  static boost::system::result<std::unique_ptr<ForwardLink>, Failure> open(
      const ForwardTarget& target);
  /// Ends the connection.
  ~ForwardLink();
  ForwardLink(const ForwardLink&) = delete;
  ForwardLink& operator=(const ForwardLink&) = delete;

  const ForwardReady& ready() const;
  /// The socket on which an NBD client of this process speaks to the server; it is closed by who
  /// took it. Once.
  int take_socket();

 private:
  struct Impl;
  explicit ForwardLink(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace vhdxm::transfer
