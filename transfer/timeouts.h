// How long a side waits for the other before it takes it for gone.
//
// The defaults are part of the protocol as users know it (docs/protocol.md). A program on a link of
// its own, or a test, may want others; heartbeat must stay well below the other side's silence.
#pragma once

#include <chrono>

namespace vhdxm::transfer {

/// All greater than zero.
struct Timeouts {
  /// To connect; and for a new connection to say who it is: preamble, TLS and, on a data stream,
  /// Join. A connection that takes longer is closed.
  std::chrono::milliseconds handshake{10'000};
  /// A side that had nothing to say on control for so long says Heartbeat.
  std::chrono::milliseconds heartbeat{5'000};
  /// A side that heard nothing on control for so long takes the other for dead. An fsync of a slow
  /// disk does not silence a peer, only its death does.
  std::chrono::milliseconds silence{20'000};
  /// A data stream that owes something and neither sends a byte nor is told of one written for so
  /// long is given up and replaced. A job in which the other side lets so much time pass, alive but
  /// without the step that is due, is given up; where it has a disk to read or write first, it has
  /// longer (transfer/stall_watch.h). Longer than a slow disk takes to sync what it cached.
  std::chrono::milliseconds stall{60'000};
  /// After the last word, for the other side to read it and close.
  std::chrono::milliseconds goodbye{3'000};
};

}  // namespace vhdxm::transfer
