#include "transfer/frame_builder.h"

#include <algorithm>

#include "base/check.h"

namespace vhdxm::transfer {
namespace {

void add_range(BuiltFrames& out, std::uint32_t disk, const WorkItem& item) {
  const FrameHeader header{.kind = item.kind,
                           .disk = disk,
                           .virtual_offset = item.virtual_offset,
                           .raw_length = item.length};
  out.frames.push_back({.header = header, .again = item});
  out.payloads.emplace_back();
}

// The part [begin, end) of a data item, whose bytes are `bytes`.
void add_part(BuiltFrames& out, std::uint32_t disk, const WorkItem& item, std::uint64_t begin,
              std::span<const std::byte> bytes, bool zero, std::uint64_t hash_seed) {
  WorkItem part = item;
  part.virtual_offset += begin;
  part.file_offset += begin;
  part.length = bytes.size();
  FrameHeader header{.kind = zero ? FrameKind::kZero : FrameKind::kData,
                     .disk = disk,
                     .virtual_offset = part.virtual_offset,
                     .raw_length = bytes.size()};
  if (zero) {
    out.zero_bytes += bytes.size();
    bytes = {};
  } else {
    header.wire_length = static_cast<std::uint32_t>(bytes.size());
    header.hash = hash128(bytes, hash_seed);
    out.payload_bytes += bytes.size();
  }
  out.frames.push_back({.header = header, .again = part});
  out.payloads.push_back(bytes);
}

void add_data(BuiltFrames& out, std::uint32_t disk, const WorkItem& item,
              std::span<const std::byte> bytes, std::uint64_t hash_seed) {
  std::uint64_t run_begin = 0;
  bool run_zero = false;
  for (std::uint64_t at = 0; at < item.length;) {
    const std::uint64_t to_grid = kCellBytes - (item.virtual_offset + at) % kCellBytes;
    const std::uint64_t cell = std::min(item.length - at, to_grid);
    const bool zero = all_zero(bytes.subspan(at, cell));
    if (at > 0 && zero != run_zero) {
      add_part(out, disk, item, run_begin, bytes.subspan(run_begin, at - run_begin), run_zero,
               hash_seed);
      run_begin = at;
    }
    run_zero = zero;
    at += cell;
  }
  add_part(out, disk, item, run_begin, bytes.subspan(run_begin), run_zero, hash_seed);
}

}  // namespace

Result<BuiltFrames> build_frames(const ExtentQueue::Batch& batch, std::span<std::byte> buffer,
                                 std::uint64_t hash_seed, BufferPool& pool) {
  VHDXM_CHECK(batch.payload_bytes <= buffer.size());
  BuiltFrames out;
  for (const WorkItem& item : batch.items) {
    if (item.kind != FrameKind::kData) {
      add_range(out, batch.disk, item);
      continue;
    }
    const auto bytes = buffer.first(item.length);
    buffer = buffer.subspan(item.length);
    VHDXM_TRY_VOID(read_exact_at(*item.file, item.file_offset, bytes, "payload of the disk"));
    pool.note(BufferPool::Stage::kFilled, bytes);
    add_data(out, batch.disk, item, bytes, hash_seed);
  }
  for (const auto& payload : out.payloads) pool.note(BufferPool::Stage::kHashed, payload);
  return out;
}

}  // namespace vhdxm::transfer
