#include "base/crc32c.h"

#include <isa-l/crc.h>

#include <array>

#include "base/check.h"

namespace vhdxm {

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous) {
  // ISA-L takes an int length: go in pieces that fit. It does not write to the buffer.
  constexpr std::size_t kPieceMax = std::size_t{1} << 30;
  std::uint32_t state = ~previous;
  while (!bytes.empty()) {
    const auto piece = bytes.first(bytes.size() < kPieceMax ? bytes.size() : kPieceMax);
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(piece.data()));
    state = crc32_iscsi(data, static_cast<int>(piece.size()), state);
    bytes = bytes.subspan(piece.size());
  }
  return ~state;
}

std::uint32_t crc32c_with_field_zero(std::span<const std::byte> bytes,
                                     std::size_t checksum_offset) {
  VHDXM_CHECK(checksum_offset + 4 <= bytes.size());
  constexpr std::array<std::byte, 4> kZero{};
  const std::uint32_t head = crc32c(bytes.first(checksum_offset));
  return crc32c(bytes.subspan(checksum_offset + 4), crc32c(kZero, head));
}

}  // namespace vhdxm
