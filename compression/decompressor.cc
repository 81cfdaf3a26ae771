// zstd's functions for contexts in given memory, and its frame header, are only in this section.
#define ZSTD_STATIC_LINKING_ONLY  // NOLINT(readability-identifier-naming): their name
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>

#include "base/check.h"
#include "compression/compressor.h"
#include "compression/errc.h"

namespace vhdxm::compression {
namespace {

Error header_error(std::size_t zstd_code) {
  switch (ZSTD_getErrorCode(zstd_code)) {
    case ZSTD_error_prefix_unknown:
      return codec_error(Errc::kNotZstd, "zstd Magic_Number", 0);
    case ZSTD_error_frameParameter_windowTooLarge:
      return codec_error(Errc::kWindowTooLarge, "zstd Window_Descriptor");
    default:
      return codec_error(Errc::kBadHeader, "zstd Frame_Header");
  }
}

/// That it is the header of a frame that fills `raw_bytes`, as far as it says.
Result<void> check_header(std::span<const std::byte> packed, std::size_t raw_bytes) {
  ZSTD_frameHeader header{};
  const std::size_t found = ZSTD_getFrameHeader(&header, packed.data(), packed.size());
  if (ZSTD_isError(found) != 0) return header_error(found);
  if (found > 0) return codec_error(Errc::kTruncated, "zstd Frame_Header", packed.size());
  if (header.frameType == ZSTD_skippableFrame) {
    return codec_error(Errc::kSkippable, "zstd Magic_Number", 0);
  }
  if (header.dictID != 0) {
    return codec_error(Errc::kDictionary, "zstd Dictionary_ID", Error::kNoOffset, header.dictID, 0);
  }
  if (header.frameContentSize != ZSTD_CONTENTSIZE_UNKNOWN && header.frameContentSize != raw_bytes) {
    return codec_error(header.frameContentSize > raw_bytes ? Errc::kTooLong : Errc::kTooShort,
                       "zstd Frame_Content_Size", Error::kNoOffset, header.frameContentSize,
                       raw_bytes);
  }
  const std::size_t window_bytes_max = std::max(kWindowBytesMax, raw_bytes);
  if (header.windowSize > window_bytes_max) {
    return codec_error(Errc::kWindowTooLarge, "zstd Window_Descriptor", Error::kNoOffset,
                       header.windowSize, window_bytes_max);
  }
  return {};
}

/// That `packed` ends where its frame does.
Result<void> check_length(std::span<const std::byte> packed) {
  const std::size_t frame_bytes = ZSTD_findFrameCompressedSize(packed.data(), packed.size());
  if (ZSTD_isError(frame_bytes) != 0) {
    if (ZSTD_getErrorCode(frame_bytes) == ZSTD_error_srcSize_wrong) {
      return codec_error(Errc::kTruncated, "zstd Data_Block", packed.size());
    }
    return codec_error(Errc::kCorrupt, "zstd Block_Header");
  }
  if (frame_bytes < packed.size()) {
    return codec_error(Errc::kTrailing, "end of the zstd frame", frame_bytes, packed.size(),
                       frame_bytes);
  }
  return {};
}

}  // namespace

std::size_t Decompressor::memory_bytes() {
  return ZSTD_estimateDCtxSize();
}

Decompressor::Decompressor()
    : workspace_(memory_bytes()),
      context_(ZSTD_initStaticDCtx(workspace_.data(), workspace_.bytes())) {
  VHDXM_CHECK(context_ != nullptr);
}

Result<void> Decompressor::decompress(std::span<const std::byte> packed, std::span<std::byte> raw) {
  VHDXM_TRY_VOID(check_header(packed, raw.size()));
  VHDXM_TRY_VOID(check_length(packed));
  const std::size_t length =
      ZSTD_decompressDCtx(context_, raw.data(), raw.size(), packed.data(), packed.size());
  if (ZSTD_isError(length) != 0) {
    if (ZSTD_getErrorCode(length) == ZSTD_error_dstSize_tooSmall) {
      return codec_error(Errc::kTooLong, "content of the zstd frame", Error::kNoOffset,
                         std::nullopt, raw.size());
    }
    return codec_error(Errc::kCorrupt, "zstd Data_Block");
  }
  if (length < raw.size()) {
    return codec_error(Errc::kTooShort, "content of the zstd frame", Error::kNoOffset, length,
                       raw.size());
  }
  return {};
}

}  // namespace vhdxm::compression
