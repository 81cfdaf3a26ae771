#include "transfer/frame.h"

#include <optional>

#include "base/crc32c.h"
#include "base/little_endian.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint32_t kFrameMagic = 0x31464d56;  // "VMF1"
constexpr std::uint16_t kFrameVersion = 1;
/// The longest range that one frame can speak of. Bytes.
constexpr std::uint64_t kRangeBytesMax = std::uint64_t{1} << 63;

struct RawFrameHeader {
  Le32 magic;
  Le16 version;
  std::uint8_t kind;
  std::uint8_t codec;
  Le32 disk;
  Le32 pass;
  Le64 virtual_offset;
  Le64 raw_length;
  Le32 wire_length;
  Le32 reserved1;
  Le64 hash_low;
  Le64 hash_high;
  Le32 reserved2;
  Le32 checksum;  ///< CRC-32C of all bytes before it.
};
static_assert(sizeof(RawFrameHeader) == kFrameHeaderBytes && alignof(RawFrameHeader) == 1);
static_assert(sizeof(FrameHeaderBytes) == kFrameHeaderBytes);

Error broken(const char* where, std::uint64_t offset, std::optional<std::uint64_t> found = {},
             std::optional<std::uint64_t> expected = {}) {
  return Error{.code = Errc::kProtocol,
               .where = where,
               .offset = offset,
               .found = found,
               .expected = expected};
}

Error too_large(const char* where, std::uint64_t offset, std::uint64_t found,
                std::uint64_t expected) {
  Error error = broken(where, offset, found, expected);
  error.code = Errc::kTooLarge;
  return error;
}

/// A frame with payload.
Result<void> check_data(const FrameHeader& frame, const FrameLimits& limits) {
  constexpr std::uint64_t kRawAt = offsetof(RawFrameHeader, raw_length);
  constexpr std::uint64_t kWireAt = offsetof(RawFrameHeader, wire_length);
  if (frame.raw_length == 0) return broken("frame raw_length of a data frame", kRawAt, 0);
  if (frame.raw_length > limits.extent_bytes_max) {
    return too_large("frame raw_length, more than the negotiated extent", kRawAt, frame.raw_length,
                     limits.extent_bytes_max);
  }
  if (frame.wire_length == 0) return broken("frame wire_length of a data frame", kWireAt, 0);
  // A codec that does not make an extent smaller is not used: so the extent bounds both lengths.
  if (frame.wire_length > frame.raw_length) {
    return too_large("frame wire_length, more than raw_length", kWireAt, frame.wire_length,
                     frame.raw_length);
  }
  if (frame.codec == compression::Codec::kNone && frame.wire_length != frame.raw_length) {
    return broken("frame wire_length without a codec", kWireAt, frame.wire_length,
                  frame.raw_length);
  }
  if (frame.codec != compression::Codec::kNone) {
    if (!limits.zstd) {
      return broken("frame codec that was not agreed on", offsetof(RawFrameHeader, codec),
                    static_cast<std::uint64_t>(frame.codec), 0);
    }
    if (frame.wire_length == frame.raw_length) {
      return broken("frame wire_length with a codec that saves nothing", kWireAt, frame.wire_length,
                    frame.raw_length);
    }
  }
  return {};
}

/// A frame without payload.
Result<void> check_bare(const FrameHeader& frame) {
  if (frame.codec != compression::Codec::kNone) {
    return broken("frame codec without payload", offsetof(RawFrameHeader, codec),
                  static_cast<std::uint64_t>(frame.codec), 0);
  }
  if (frame.wire_length != 0) {
    return broken("frame wire_length without payload", offsetof(RawFrameHeader, wire_length),
                  frame.wire_length, 0);
  }
  return {};
}

Result<void> check_range(const FrameHeader& frame) {
  constexpr std::uint64_t kRawAt = offsetof(RawFrameHeader, raw_length);
  VHDXM_TRY_VOID(check_bare(frame));
  if (frame.hash != Hash128{}) {
    return broken("frame hash without payload", offsetof(RawFrameHeader, hash_low));
  }
  if (frame.raw_length == 0) return broken("frame raw_length of a range", kRawAt, 0);
  if (frame.raw_length > kRangeBytesMax) {
    return too_large("frame raw_length of a range", kRawAt, frame.raw_length, kRangeBytesMax);
  }
  return {};
}

/// A cell that is there already. That it ends where a cell does, or the disk, is the caller's to
/// check: only it knows the disk.
Result<void> check_same(const FrameHeader& frame) {
  constexpr std::uint64_t kRawAt = offsetof(RawFrameHeader, raw_length);
  VHDXM_TRY_VOID(check_bare(frame));
  if (frame.virtual_offset % kCellBytes != 0) {
    return broken("frame virtual_offset of a cell", offsetof(RawFrameHeader, virtual_offset),
                  frame.virtual_offset, kCellBytes);
  }
  if (frame.raw_length == 0) return broken("frame raw_length of a cell", kRawAt, 0);
  if (frame.raw_length > kCellBytes) {
    return too_large("frame raw_length of a cell", kRawAt, frame.raw_length, kCellBytes);
  }
  return {};
}

Result<void> check_end(const FrameHeader& frame) {
  FrameHeader plain;
  plain.kind = FrameKind::kEnd;
  if (frame == plain) return {};
  return broken("frame of kind end with other fields than zero", offsetof(RawFrameHeader, kind));
}

Result<void> check(const FrameHeader& frame, const FrameLimits& limits) {
  if (frame.kind == FrameKind::kEnd) return check_end(frame);
  if (frame.disk >= limits.disk_count) {
    return broken("frame disk, of disks in the offer", offsetof(RawFrameHeader, disk), frame.disk,
                  limits.disk_count);
  }
  if (frame.kind == FrameKind::kData) {
    VHDXM_TRY_VOID(check_data(frame, limits));
  } else if (frame.kind == FrameKind::kSame) {
    VHDXM_TRY_VOID(check_same(frame));
  } else {
    VHDXM_TRY_VOID(check_range(frame));
  }
  if (frame.virtual_offset > ~std::uint64_t{0} - frame.raw_length) {
    return broken("frame virtual_offset + raw_length wraps",
                  offsetof(RawFrameHeader, virtual_offset), frame.virtual_offset);
  }
  return {};
}

}  // namespace

FrameHeaderBytes encode(const FrameHeader& header) {
  RawFrameHeader raw{};
  raw.magic = kFrameMagic;
  raw.version = kFrameVersion;
  raw.kind = static_cast<std::uint8_t>(header.kind);
  raw.codec = static_cast<std::uint8_t>(header.codec);
  raw.disk = header.disk;
  raw.pass = header.pass;
  raw.virtual_offset = header.virtual_offset;
  raw.raw_length = header.raw_length;
  raw.wire_length = header.wire_length;
  raw.hash_low = header.hash.low;
  raw.hash_high = header.hash.high;
  FrameHeaderBytes bytes{};
  store_raw(bytes.data(), raw);
  raw.checksum = crc32c(std::span(bytes).first<offsetof(RawFrameHeader, checksum)>());
  store_raw(bytes.data(), raw);
  return bytes;
}

Result<FrameHeader> decode_frame_header(std::span<const std::byte, kFrameHeaderBytes> bytes,
                                        const FrameLimits& limits) {
  const auto raw = load_raw<RawFrameHeader>(bytes.data());
  if (raw.magic != kFrameMagic) {
    return broken("frame magic", offsetof(RawFrameHeader, magic), raw.magic, kFrameMagic);
  }
  const std::uint32_t checksum = crc32c(bytes.first<offsetof(RawFrameHeader, checksum)>());
  if (raw.checksum != checksum) {
    Error error =
        broken("frame header CRC", offsetof(RawFrameHeader, checksum), raw.checksum, checksum);
    error.code = Errc::kChecksum;
    return error;
  }
  if (raw.version != kFrameVersion) {
    return broken("frame version", offsetof(RawFrameHeader, version), raw.version, kFrameVersion);
  }
  if (raw.kind < static_cast<std::uint8_t>(FrameKind::kData) ||
      raw.kind > static_cast<std::uint8_t>(FrameKind::kSame)) {
    return broken("frame kind", offsetof(RawFrameHeader, kind), raw.kind);
  }
  const std::optional<compression::Codec> codec = compression::codec_from_wire(raw.codec);
  if (!codec) return broken("frame codec", offsetof(RawFrameHeader, codec), raw.codec);
  if (raw.reserved1 != 0) {
    return broken("frame reserved bytes", offsetof(RawFrameHeader, reserved1), raw.reserved1, 0);
  }
  if (raw.reserved2 != 0) {
    return broken("frame reserved bytes", offsetof(RawFrameHeader, reserved2), raw.reserved2, 0);
  }
  FrameHeader frame;
  frame.kind = static_cast<FrameKind>(raw.kind);
  frame.codec = *codec;
  frame.disk = raw.disk;
  frame.pass = raw.pass;
  frame.virtual_offset = raw.virtual_offset;
  frame.raw_length = raw.raw_length;
  frame.wire_length = raw.wire_length;
  frame.hash = Hash128{.low = raw.hash_low, .high = raw.hash_high};
  VHDXM_TRY_VOID(check(frame, limits));
  return frame;
}

}  // namespace vhdxm::transfer
