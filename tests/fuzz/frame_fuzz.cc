// Frame headers: {u32 extent_bytes_max, u32 disk_count, u8: 0x80 zstd agreed, else keep CRC} and
// the header. The CRC is made good unless the input says otherwise, so that the fields behind it
// are reached. Oracle: what is accepted keeps its limits and encodes to the same bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/little_endian.h"
#include "transfer/errc.h"
#include "transfer/frame.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vhdxm;
  using namespace vhdxm::transfer;
  constexpr std::size_t kSettingBytes = 9;
  constexpr std::size_t kChecksumAt = kFrameHeaderBytes - 4;
  if (size < kSettingBytes) return 0;
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size));
  FrameLimits limits{.extent_bytes_max = load_raw<Le32>(input.data()),
                     .disk_count = load_raw<Le32>(input.data() + 4)};
  const bool keep_checksum = (input[8] & std::byte{0x7f}) != std::byte{0};
  limits.zstd = (input[8] & std::byte{0x80}) != std::byte{0};
  const std::span<const std::byte> rest = input.subspan(kSettingBytes);
  FrameHeaderBytes bytes{};
  std::copy_n(rest.begin(), std::min(rest.size(), bytes.size()), bytes.begin());
  if (!keep_checksum) {
    const Le32 checksum = crc32c(std::span(bytes).first<kChecksumAt>());
    store_raw(bytes.data() + kChecksumAt, checksum);
  }

  const Result<FrameHeader> frame = decode_frame_header(bytes, limits);
  if (frame.has_error()) {
    VHDXM_CHECK(*frame.error().where != '\0');
    return 0;
  }
  VHDXM_CHECK(encode(*frame) == bytes);
  if (frame->kind == FrameKind::kEnd) {
    VHDXM_CHECK(frame->raw_length == 0 && frame->wire_length == 0);
    return 0;
  }
  VHDXM_CHECK(frame->disk < limits.disk_count);
  VHDXM_CHECK(frame->raw_length > 0);
  VHDXM_CHECK(frame->virtual_offset + frame->raw_length > frame->virtual_offset);
  if (frame->kind == FrameKind::kData) {
    VHDXM_CHECK(frame->raw_length <= limits.extent_bytes_max);
    VHDXM_CHECK(frame->wire_length > 0 && frame->wire_length <= frame->raw_length);
    const bool packed = frame->codec != compression::Codec::kNone;
    VHDXM_CHECK(packed ? limits.zstd && frame->wire_length < frame->raw_length
                       : frame->wire_length == frame->raw_length);
  } else {
    VHDXM_CHECK(frame->wire_length == 0);
  }
  if (frame->kind == FrameKind::kSame) {
    VHDXM_CHECK(frame->raw_length <= kCellBytes && frame->virtual_offset % kCellBytes == 0);
  }
  return 0;
}
