#include "transfer/preamble.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/little_endian.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

using Magic = std::array<char, 8>;
// The first byte can be none of TLS, whose records begin with 0x14 to 0x17.
constexpr Magic kPreambleMagic = {'V', 'H', 'D', 'X', 'M', 'I', 'G', 'R'};
constexpr Magic kRefusalMagic = {'V', 'H', 'D', 'X', 'M', 'R', 'E', 'F'};

struct RawPreamble {
  Magic magic;
  Le16 version;
  std::uint8_t kind;
  std::array<std::uint8_t, 5> reserved;
  JobId job_id;
};
static_assert(sizeof(RawPreamble) == kPreambleBytes && alignof(RawPreamble) == 1);

struct RawRefusal {
  Magic magic;
  Le16 version_min;
  Le16 version_max;
  std::uint8_t reason;
  std::array<std::uint8_t, 19> reserved;
};
static_assert(sizeof(RawRefusal) == kPreambleBytes && alignof(RawRefusal) == 1);

template <std::size_t n>
bool all_zero_bytes(const std::array<std::uint8_t, n>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

Error foreign(const char* where, std::uint64_t offset) {
  return Error{.code = Errc::kNotOurProtocol, .where = where, .offset = offset};
}

}  // namespace

std::string hex_of(const JobId& id) {
  std::string text;
  for (const std::uint8_t byte : id) text += fmt::format("{:02x}", byte);
  return text;
}

PreambleBytes encode(const Preamble& preamble) {
  RawPreamble raw{};
  raw.magic = kPreambleMagic;
  raw.version = preamble.version;
  raw.kind = static_cast<std::uint8_t>(preamble.kind);
  raw.job_id = preamble.job_id;
  PreambleBytes bytes{};
  store_raw(bytes.data(), raw);
  return bytes;
}

Result<Preamble> decode_preamble(std::span<const std::byte, kPreambleBytes> bytes) {
  const auto raw = load_raw<RawPreamble>(bytes.data());
  if (raw.magic != kPreambleMagic) {
    return foreign("preamble magic", offsetof(RawPreamble, magic));
  }
  // Before all that another version may have put elsewhere.
  if (raw.version != kProtocolVersion) {
    return Error{.code = Errc::kVersion,
                 .where = "preamble version",
                 .offset = offsetof(RawPreamble, version),
                 .found = raw.version,
                 .expected = kProtocolVersion};
  }
  if (raw.kind < static_cast<std::uint8_t>(ConnectionKind::kOffer) ||
      raw.kind > static_cast<std::uint8_t>(ConnectionKind::kForward)) {
    Error error = foreign("preamble kind", offsetof(RawPreamble, kind));
    error.found = raw.kind;
    return error;
  }
  if (!all_zero_bytes(raw.reserved)) {
    return foreign("preamble reserved bytes", offsetof(RawPreamble, reserved));
  }
  Preamble preamble;
  preamble.version = raw.version;
  preamble.kind = static_cast<ConnectionKind>(raw.kind);
  preamble.job_id = raw.job_id;
  return preamble;
}

PreambleBytes encode(const Refusal& refusal) {
  RawRefusal raw{};
  raw.magic = kRefusalMagic;
  raw.version_min = refusal.version_min;
  raw.version_max = refusal.version_max;
  raw.reason = static_cast<std::uint8_t>(refusal.reason);
  PreambleBytes bytes{};
  store_raw(bytes.data(), raw);
  return bytes;
}

Result<Refusal> decode_refusal(std::span<const std::byte, kPreambleBytes> bytes) {
  const auto raw = load_raw<RawRefusal>(bytes.data());
  if (raw.magic != kRefusalMagic) return foreign("refusal magic", offsetof(RawRefusal, magic));
  if (raw.reason < static_cast<std::uint8_t>(RefusalReason::kVersion) ||
      raw.reason > static_cast<std::uint8_t>(RefusalReason::kBusy)) {
    Error error = foreign("refusal reason", offsetof(RawRefusal, reason));
    error.found = raw.reason;
    return error;
  }
  if (raw.version_min > raw.version_max) {
    return foreign("refusal version range", offsetof(RawRefusal, version_min));
  }
  if (!all_zero_bytes(raw.reserved)) {
    return foreign("refusal reserved bytes", offsetof(RawRefusal, reserved));
  }
  Refusal refusal;
  refusal.reason = static_cast<RefusalReason>(raw.reason);
  refusal.version_min = raw.version_min;
  refusal.version_max = raw.version_max;
  return refusal;
}

}  // namespace vhdxm::transfer
