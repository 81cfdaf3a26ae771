// The 32 bytes that begin every connection, before TLS: what it is and for which job.
//
// Carries no secret and nothing is decided by it but routing; it is repeated inside TLS, and a
// difference ends the connection. A listener that cannot go on answers with a refusal of the same
// size, which is not authenticated either: the client shows it, and acts on nothing in it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace vhdxm::transfer {

inline constexpr std::size_t kPreambleBytes = 32;
inline constexpr std::uint16_t kProtocolVersion = 7;

/// The numbers stand on the wire and are never changed.
enum class ConnectionKind : std::uint8_t {
  kOffer = 1,          ///< The control connection of a new job.
  kJobControl = 2,     ///< A control connection for a job that the listener knows.
  kJobData = 3,        ///< A data stream of a job.
  kKerberosOffer = 4,  ///< As kOffer, authenticated by Kerberos.
  kForward = 5,        ///< Requests to a disk that a job has handed over to the listener.
};

using JobId = std::array<std::uint8_t, 16>;
/// 32 lower-case hex digits.
std::string hex_of(const JobId& id);

struct Preamble {
  std::uint16_t version = kProtocolVersion;
  ConnectionKind kind = ConnectionKind::kOffer;
  JobId job_id{};  ///< Random, chosen by the sender.

  friend bool operator==(const Preamble&, const Preamble&) = default;
};

using PreambleBytes = std::array<std::byte, kPreambleBytes>;
PreambleBytes encode(const Preamble& preamble);
/// Errors: Errc::kNotOurProtocol (magic, kind, reserved bytes), kVersion (found, expected).
Result<Preamble> decode_preamble(std::span<const std::byte, kPreambleBytes> bytes);

/// What a listener answers in place of TLS when it cannot go on.
enum class RefusalReason : std::uint8_t {
  kVersion = 1,  ///< It speaks version_min..version_max only.
  kKind = 2,     ///< It does not take this kind of connection.
  kBusy = 3,     ///< It has as many connections as it takes.
};
struct Refusal {
  RefusalReason reason = RefusalReason::kVersion;
  std::uint16_t version_min = kProtocolVersion;
  std::uint16_t version_max = kProtocolVersion;

  friend bool operator==(const Refusal&, const Refusal&) = default;
};
PreambleBytes encode(const Refusal& refusal);
/// Errors: Errc::kNotOurProtocol. A TLS record never begins as a refusal does.
Result<Refusal> decode_refusal(std::span<const std::byte, kPreambleBytes> bytes);

}  // namespace vhdxm::transfer
