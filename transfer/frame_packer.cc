#include "transfer/frame_packer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/processor_time.h"
#include "compression/level_costs.h"
#include "compression/probe.h"
#include "transfer/auto_mode.h"

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

// Finds out what levels cost, with bytes that are about to be sent anyway.
void find_costs(std::span<const std::byte> raw, int level_max, ModeControl& control,
                CompressorPool& compressors) {
  const std::array<std::span<const std::byte>, 1> samples = {
      raw.first(std::min<std::size_t>(raw.size(), kCellBytes))};
  std::vector<int> levels;
  for (const int level : AutoMode::ladder()) {
    if (level <= std::min(level_max, compressors.level_max())) levels.push_back(level);
  }
  const CompressorPool::Lease lease(compressors);
  const auto room = lease.room();
  if (room.size() < 2 * kCellBytes)
    return;  // extents of one cell: what was assumed will have to do
  compression::Decompressor decompressor;
  const auto costs = compression::measure_level_costs(
      samples, {.levels = levels, .cpu_budget_s = 0}, lease.compressor(), decompressor,
      room.first(kCellBytes), room.subspan(kCellBytes, kCellBytes));
  // What does not compress is sent as it is whatever the level: it says nothing about them.
  if (costs.has_error() || costs->probed_no_bytes == costs->sample_bytes) return;
  control.note_costs(costs->rows);
}

}  // namespace

void pack_frames(BuiltFrames& built, std::span<std::byte> buffer, ModeControl& control,
                 CompressorPool& compressors) {
  for (std::size_t i = 0; i < built.frames.size(); ++i) {
    FrameHeader& header = built.frames[i].header;
    if (header.kind != FrameKind::kData) continue;
    const auto level = control.next(std::chrono::steady_clock::now());
    const auto costs_up_to = control.costs_wanted();
    if (!level && !costs_up_to) continue;
    const auto begin = static_cast<std::size_t>(built.payloads[i].data() - buffer.data());
    VHDXM_CHECK(begin + header.wire_length <= buffer.size());
    const auto raw = buffer.subspan(begin, header.wire_length);
    const std::uint64_t before = thread_processor_ns();
    if (costs_up_to) find_costs(raw, *costs_up_to, control, compressors);
    if (!level) continue;
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
