// The codecs a frame's payload can be in, by the number that stands on the wire.
//
// Numbers are never reused: a receiver refuses those it does not know before it allocates anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace vhdxm::compression {

enum class Codec : std::uint8_t {
  kNone = 0,  ///< The bytes of the disk as they are.
  kZstd = 1,  ///< One zstd frame (RFC 8878), complete in itself: compression/compressor.h.
};

/// The codec with that wire number, if this build has it.
std::optional<Codec> codec_from_wire(std::uint8_t number);

std::string_view to_string(Codec codec);

}  // namespace vhdxm::compression
