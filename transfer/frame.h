// What a data stream carries: fixed headers, each with the payload of one extent or none.
//
// Every frame is independent: any stream can carry it, in any order. docs/protocol.md has the
// layout.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/hash128.h"
#include "base/result.h"
#include "compression/codec.h"

namespace vhdxm::transfer {

inline constexpr std::size_t kFrameHeaderBytes = 64;
/// Ranges without payload, the ledger and resume work on cells of this size. Bytes.
inline constexpr std::uint64_t kCellBytes = 256 * 1024;
/// The largest extent that any peer may negotiate. Bytes.
inline constexpr std::uint32_t kExtentBytesCeiling = 4 * 1024 * 1024;

/// The numbers stand on the wire and are never changed; 1-4 are vhdx::ExtentKind's.
enum class FrameKind : std::uint8_t {
  kData = 1,
  kZero = 2,
  kUnmapped = 3,
  kTransparent = 4,
  kEnd = 5,   ///< The stream ends here in good order: no range, no payload.
  kSame = 6,  ///< One cell that the receiver has already, as `hash` (of transfer/cell_hash.h) says.
};

struct FrameHeader {
  FrameKind kind = FrameKind::kData;
  compression::Codec codec = compression::Codec::kNone;
  std::uint32_t disk = 0;            ///< Index in the offer.
  std::uint32_t pass = 0;            ///< 0 in an offline move.
  std::uint64_t virtual_offset = 0;  ///< Bytes.
  std::uint64_t raw_length = 0;      ///< Bytes of the disk that the frame speaks of.
  std::uint32_t wire_length = 0;     ///< Bytes of payload that follow; 0 unless kData.
  /// kData: XXH3-128 of the raw bytes, seeded for the job. kSame: that of the cell. Else zero.
  Hash128 hash{};

  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};

/// What the peers agreed on and what the disk is: every length is held against it before use.
struct FrameLimits {
  std::uint32_t extent_bytes_max = 0;
  std::uint32_t disk_count = 0;
  bool zstd = false;  ///< Feature::kZstd holds.
};

using FrameHeaderBytes = std::array<std::byte, kFrameHeaderBytes>;
FrameHeaderBytes encode(const FrameHeader& header);
/// Checks magic, version, CRC, reserved bytes, kind and codec, and the lengths against `limits`;
/// that virtual_offset + raw_length does not wrap. Whether it lies inside the disk is the caller's
/// to check. Errors: Errc::kProtocol, kChecksum, kTooLarge, naming the field.
Result<FrameHeader> decode_frame_header(std::span<const std::byte, kFrameHeaderBytes> bytes,
                                        const FrameLimits& limits);

}  // namespace vhdxm::transfer
