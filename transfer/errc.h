// Why a transfer ends badly: the errors of this folder and the exit class each belongs to.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace vhdxm::transfer {

/// Values are never renumbered.
enum class Errc {
  kNotOurProtocol = 1,   ///< The peer does not speak VHDX Migrate's protocol.
  kVersion = 2,          ///< The peer speaks another version of it.
  kAuthentication = 3,   ///< The keys of the two sides differ, or the peer proved nothing.
  kProtocol = 4,         ///< The peer broke the protocol: a message or frame that must not be.
  kTooLarge = 5,         ///< A length above what was negotiated.
  kChecksum = 6,         ///< Bytes that are not the bytes that were sent.
  kLedgerMismatch = 7,   ///< What arrived is not what was sent.
  kNameTaken = 8,        ///< Another disk has that name at the destination.
  kNoSpace = 9,          ///< The destination has too little room.
  kSourceChanged = 10,   ///< The disk was changed while it was sent.
  kPeerFailed = 11,      ///< The peer gave up and said why.
  kPeerClosed = 12,      ///< The peer closed the connection before the job was over.
  kTimeout = 13,         ///< The peer was silent for too long.
  kRefused = 14,         ///< The peer does not allow what was asked for.
  kBusy = 15,            ///< In use, or with as many jobs as it takes: it may be free later.
  kIncompatible = 16,    ///< The disk is one that the destination cannot hold.
  kDestinationIo = 17,   ///< The destination could not write.
  kVerifyMismatch = 18,  ///< Reading both disks again found a difference.
  kSourceInUse = 19,     ///< A program has the source open for writing.
  kNotConverging = 20,   ///< Disks in use are written faster than they can be sent.
};
inline constexpr Errc kErrcLast = Errc::kNotConverging;

error_code make_error_code(Errc errc);

/// Who must do what next; decides the exit code of the tool (ARCHITECTURE: 5).
enum class FailureClass : std::uint8_t {
  kFailed = 1,
  kUsage = 2,
  kIncompatible = 3,
  kAuthentication = 4,
  kNetwork = 5,
  kData = 6,
  kCancelled = 7,
};

/// How a job failed, in words for the person who started it.
struct Failure {
  FailureClass failure_class = FailureClass::kFailed;
  Error error;
  std::string message;  ///< What happened, naming the thing, in one sentence.
  std::string advice;   ///< What to do next; may be empty.
};

/// The class an error belongs to. Errors of the system on a socket are kNetwork only where the
/// caller knows that they are of a socket: see `network_failure`.
FailureClass classify(const Error& error);

/// What Fail says of an error, so that the other side can act on it: no room is something else than
/// bad luck. The number of an Errc.
std::uint16_t fail_code(const Error& error);

}  // namespace vhdxm::transfer

template <>
struct boost::system::is_error_code_enum<vhdxm::transfer::Errc> : std::true_type {};
