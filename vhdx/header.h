// The two headers: the roots of a VHDX file, and where its log is.
//
// Spec: [MS-VHDX] 2.2.2. Two copies stand at 64 KiB and 128 KiB; of the valid ones the one with the
// greater sequence number is current. An update overwrites the other, so a torn write always
// leaves a valid one.
#pragma once

#include <array>
#include <cstdint>

#include "base/file.h"
#include "base/guid.h"
#include "vhdx/format.h"

namespace vhdxm::vhdx {

struct Header {
  std::uint64_t sequence_number = 0;
  Guid file_write_guid;  ///< Changes with every session that writes the file.
  Guid data_write_guid;  ///< Changes with the content; children are linked to it.
  Guid log_guid;         ///< Zero: there is no log to replay.
  std::uint16_t log_version = kLogVersion;
  std::uint16_t version = kFormatVersion;
  std::uint32_t log_length = 0;  ///< Bytes, a multiple of 1 MiB.
  std::uint64_t log_offset = 0;  ///< Bytes, a multiple of 1 MiB.

  friend bool operator==(const Header&, const Header&) = default;
  /// Bytes; where the log ends in the file. Cannot wrap after validate_header().
  std::uint64_t log_end() const { return log_offset + log_length; }
};

/// What stands in one of the two places.
struct HeaderSlot {
  enum class State : std::uint8_t { kValid, kFileTooShort, kBadSignature, kBadChecksum };
  State state = State::kFileTooShort;
  Header header;  ///< The fields as they stand; to be trusted only if kValid.
};

struct HeaderSlots {
  std::array<HeaderSlot, 2> slots;
  bool identical = false;  ///< Byte for byte.
};

/// Reads both headers without judging between them. Errors: of reading the file.
Result<HeaderSlots> read_header_slots(File& file);

/// Which slot is current. Errors: Errc::kNoValidHeader, kAmbiguousHeaders.
Result<std::size_t> current_slot(const HeaderSlots& slots);

/// Proves that a header of slot `slot` can be worked with: versions, place of the log.
/// Errors: Errc::kUnsupportedVersion, kUnsupportedLogVersion, kBadLogLocation.
Result<void> validate_header(const Header& header, std::size_t slot);

/// Reads both headers and returns the current one, validated.
/// The log must be replayed before anything else is trusted if log_guid is not zero.
/// Cost: two reads of 4 KiB. Errors: those of the three functions above.
Result<Header> select_header(File& file);

/// The 4 KiB of a header as they stand in the file, checksum included.
std::array<std::byte, kHeaderBytes> encode_header(const Header& header);

/// Makes `changed` the current header by the procedure of 2.2.2.1, done twice so that both copies
/// carry it, with a flush after each. `changed.sequence_number` is ignored. Returns the header as
/// written. Errors: Errc::kSequenceExhausted before anything is written; those of select_header().
Result<Header> update_headers(File& file, Header changed);

}  // namespace vhdxm::vhdx
