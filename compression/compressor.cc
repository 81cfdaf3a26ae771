// zstd's functions for contexts in given memory, and its frame header, are only in this section.
#define ZSTD_STATIC_LINKING_ONLY  // NOLINT(readability-identifier-naming): their name
#include "compression/compressor.h"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>

#include "base/check.h"

namespace vhdxm::compression {
namespace {

/// zstd tunes a level for the size of what is compressed. All extents use what it gives for this
/// size: for small ones it would take to the optimal parser from level 9 on.
constexpr std::size_t kTunedForBytes = std::size_t{1} << 20;
constexpr unsigned kWindowLogMax = 20;
constexpr unsigned kHashLogMax = 19;
constexpr unsigned kChainLogMax = 18;

ZSTD_compressionParameters parameters(int level) {
  ZSTD_compressionParameters found = ZSTD_getCParams(level, kTunedForBytes, 0);
  found.windowLog = std::min(found.windowLog, kWindowLogMax);
  found.hashLog = std::min(found.hashLog, kHashLogMax);
  found.chainLog = std::min(found.chainLog, kChainLogMax);
  VHDXM_CHECK(found.strategy < ZSTD_btlazy2);
  return found;
}

void set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  VHDXM_CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) == 0);
}

}  // namespace

std::size_t Compressor::memory_bytes(std::size_t raw_bytes_max, int level_max) {
  std::size_t bytes = 0;
  for (int level = kLevelMin; level <= level_max; ++level) {
    const ZSTD_compressionParameters adjusted =
        ZSTD_adjustCParams(parameters(level), raw_bytes_max, 0);
    bytes = std::max(bytes, ZSTD_estimateCCtxSize_usingCParams(adjusted));
  }
  return bytes;
}

Compressor::Compressor(std::size_t raw_bytes_max, int level_max)
    : raw_bytes_max_(raw_bytes_max),
      level_max_(level_max),
      workspace_(memory_bytes(raw_bytes_max, level_max)),
      context_(ZSTD_initStaticCCtx(workspace_.data(), workspace_.bytes())) {
  VHDXM_CHECK(level_max >= kLevelMin && level_max <= kLevelMax);
  VHDXM_CHECK(context_ != nullptr);
  set(context_, ZSTD_c_contentSizeFlag, 1);
  set(context_, ZSTD_c_checksumFlag, 0);
  set(context_, ZSTD_c_dictIDFlag, 0);
}

void Compressor::set_level(int level) {
  const ZSTD_compressionParameters found = parameters(level);
  // The level itself gives what no parameter sets: how far the negative ones leap.
  set(context_, ZSTD_c_compressionLevel, level);
  set(context_, ZSTD_c_windowLog, static_cast<int>(found.windowLog));
  set(context_, ZSTD_c_hashLog, static_cast<int>(found.hashLog));
  set(context_, ZSTD_c_chainLog, static_cast<int>(found.chainLog));
  set(context_, ZSTD_c_searchLog, static_cast<int>(found.searchLog));
  set(context_, ZSTD_c_minMatch, static_cast<int>(found.minMatch));
  set(context_, ZSTD_c_targetLength, static_cast<int>(found.targetLength));
  set(context_, ZSTD_c_strategy, static_cast<int>(found.strategy));
  level_ = level;
}

std::optional<std::size_t> Compressor::compress(std::span<const std::byte> raw, int level,
                                                std::span<std::byte> out) {
  VHDXM_CHECK(raw.size() <= raw_bytes_max_);
  VHDXM_CHECK(level >= kLevelMin && level <= level_max_);
  // A frame that did not fit is given up; parameters can only be set between frames.
  VHDXM_CHECK(ZSTD_isError(ZSTD_CCtx_reset(context_, ZSTD_reset_session_only)) == 0);
  if (level_ != level) set_level(level);
  const std::size_t length =
      ZSTD_compress2(context_, out.data(), out.size(), raw.data(), raw.size());
  if (ZSTD_isError(length) == 0) return length;
  VHDXM_CHECK(ZSTD_getErrorCode(length) == ZSTD_error_dstSize_tooSmall);
  return std::nullopt;
}

}  // namespace vhdxm::compression
