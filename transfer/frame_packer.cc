#include "transfer/frame_packer.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/check.h"
#include "base/processor_time.h"
#include "compression/probe.h"

namespace vhdxm::transfer {
namespace {

// Compresses `raw` and puts the result where it stands. Its length, or nothing if that is not worth
// it: then the bytes are as they were.
std::optional<std::size_t> pack(std::span<std::byte> raw, int level, CompressorPool& compressors) {
  if (!compression::probe(raw).worth_trying) return std::nullopt;
  const CompressorPool::Lease lease(compressors);
  const auto room = lease.room().first(compression::worthwhile_bytes_max(raw.size()));
  const auto length = lease.compressor().compress(raw, level, room);
  if (!length) return std::nullopt;
  std::copy_n(room.begin(), *length, raw.begin());
  return length;
}

}  // namespace

void pack_frames(BuiltFrames& built, std::span<std::byte> buffer, ModeControl& control,
                 CompressorPool& compressors) {
  for (std::size_t i = 0; i < built.frames.size(); ++i) {
    FrameHeader& header = built.frames[i].header;
    if (header.kind != FrameKind::kData) continue;
    const auto level = control.next(std::chrono::steady_clock::now());
    if (!level) continue;
    const auto begin = static_cast<std::size_t>(built.payloads[i].data() - buffer.data());
    VHDXM_CHECK(begin + header.wire_length <= buffer.size());
    const auto raw = buffer.subspan(begin, header.wire_length);
    const std::uint64_t before = thread_processor_ns();
    if (const auto length = pack(raw, *level, compressors)) {
      header.codec = compression::Codec::kZstd;
      header.wire_length = static_cast<std::uint32_t>(*length);
      built.payloads[i] = raw.first(*length);
    }
    control.note({.level = *level,
                  .raw_bytes = header.raw_length,
                  .wire_bytes = header.wire_length,
                  .processor_ns = thread_processor_ns() - before});
  }
}

}  // namespace vhdxm::transfer
