#include "compression/codec.h"

namespace vhdxm::compression {

std::optional<Codec> codec_from_wire(std::uint8_t number) {
  if (number == static_cast<std::uint8_t>(Codec::kNone)) return Codec::kNone;
  return std::nullopt;
}

std::string_view to_string(Codec codec) {
  switch (codec) {
    case Codec::kNone:
      return "none";
  }
  return "unknown";
}

}  // namespace vhdxm::compression
