// What the streams of a job count while they work; read by whoever shows progress.
#pragma once

#include <atomic>
#include <cstdint>

namespace vhdxm::transfer {

/// Thread safety: every member on its own; a snapshot of several may be a moment apart.
struct JobCounters {
  std::atomic<std::uint64_t> payload_done{0};   ///< Bytes of payload read, hashed and sent.
  std::atomic<std::uint64_t> wire_bytes{0};     ///< Frames, headers included.
  std::atomic<std::uint64_t> zero_bytes{0};     ///< Payload found to be zero.
  std::atomic<std::uint64_t> same_bytes{0};     ///< Payload that the receiver had.
  std::atomic<std::uint64_t> saved_bytes{0};    ///< Payload that compression took off the wire.
  std::atomic<std::uint64_t> written_bytes{0};  ///< Acknowledged as written.
  std::atomic<std::uint64_t> durable_bytes{0};  ///< Acknowledged as durable.
  std::atomic<std::uint64_t> resent_bytes{0};
  std::atomic<std::uint64_t> frames{0};
  std::atomic<unsigned> streams{0};           ///< Data streams that are up.
  std::atomic<std::uint64_t> phase_total{0};  ///< Of comparing and verifying.
  std::atomic<std::uint64_t> phase_done{0};
};

}  // namespace vhdxm::transfer
