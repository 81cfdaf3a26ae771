// What can be wrong with a compressed extent, one code for each rule.
//
// An Error adds the field, its offset in the extent, and the values found and expected.
#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"

namespace vhdxm::compression {

/// Values are never renumbered.
enum class Errc {
  kNotZstd = 1,         ///< It does not begin as a zstd frame does: raw bytes, an old format.
  kSkippable = 2,       ///< A frame that carries no content.
  kBadHeader = 3,       ///< A field of the frame header breaks a rule.
  kWindowTooLarge = 4,  ///< The frame asks for a larger window than any extent is.
  kDictionary = 5,      ///< The frame needs a dictionary, and there is none.
  kTruncated = 6,       ///< It ends before the frame does.
  kTrailing = 7,        ///< Something follows the frame.
  kTooLong = 8,         ///< It holds more bytes than the extent.
  kTooShort = 9,        ///< It holds fewer bytes than the extent.
  kCorrupt = 10,        ///< The frame cannot be decoded, or its checksum is wrong.
};

error_code make_error_code(Errc errc);

/// An Error about a compressed extent. Units: `offset` is bytes from its beginning.
inline Error codec_error(Errc errc, const char* where, std::uint64_t offset = Error::kNoOffset,
                         std::optional<std::uint64_t> found = std::nullopt,
                         std::optional<std::uint64_t> expected = std::nullopt) {
  return Error{.code = make_error_code(errc),
               .where = where,
               .offset = offset,
               .found = found,
               .expected = expected};
}

}  // namespace vhdxm::compression

template <>
struct boost::system::is_error_code_enum<vhdxm::compression::Errc> : std::true_type {};
