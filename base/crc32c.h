// CRC-32C (Castagnoli), by ISA-L's hardware code. Check value of "123456789": 0xe3069283.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vhdxm {

/// The CRC of `bytes`; `previous` is the CRC of what comes before them, to compute in pieces.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous = 0);

/// The CRC of a structure whose 4-byte checksum field at `checksum_offset` counts as zero.
/// Requires: checksum_offset + 4 <= bytes.size().
std::uint32_t crc32c_with_field_zero(std::span<const std::byte> bytes, std::size_t checksum_offset);

}  // namespace vhdxm
