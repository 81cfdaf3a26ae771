// How the messages of a hand-over stand in the bodies that the engine carries (transfer/cutover.h).
//
//   {u8 version, u8 type, fields}, little-endian, without padding; a list is {u32 count, elements},
//   a text {u16 length, bytes}. docs/protocol.md has the fields.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "migration/handover_messages.h"

namespace vhdxm::migration {

/// What the source says with its offer.
struct Introduction {
  HostId source;
  std::string group = {};        ///< In which they are registered there; empty: in none.
  std::vector<OwnedDisk> disks;  ///< In the order of the offer; the epoch is the source's.
};
/// What the destination answers.
struct IntroductionAnswer {
  HostId target;
};

/// Requires: at most kJobDisksMax disks.
std::vector<std::byte> encode(const HandoverMessage& message);
std::vector<std::byte> encode(const Introduction& message);
std::vector<std::byte> encode(const IntroductionAnswer& message);

/// Errors: Errc::kVersion; Errc::kRecord for a body that is too short or too long, of another type,
/// with a count over its limit, a zero where an id must be, or a value that does not exist.
Result<HandoverMessage> decode_handover(std::span<const std::byte> body);
Result<Introduction> decode_introduction(std::span<const std::byte> body);
Result<IntroductionAnswer> decode_introduction_answer(std::span<const std::byte> body);

}  // namespace vhdxm::migration
