#include "compression/codec.h"

namespace vhdxm::compression {

std::optional<Codec> codec_from_wire(std::uint8_t number) {
  switch (static_cast<Codec>(number)) {
    case Codec::kNone:
      return Codec::kNone;
    case Codec::kZstd:
      return Codec::kZstd;
  }
  return std::nullopt;
}

std::string_view to_string(Codec codec) {
  switch (codec) {
    case Codec::kNone:
      return "none";
    case Codec::kZstd:
      return "zstd";
  }
  return "unknown";
}

}  // namespace vhdxm::compression
