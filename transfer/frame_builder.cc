#include "transfer/frame_builder.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "transfer/cell_hash.h"

namespace vhdxm::transfer {
namespace {

class Builder {
 public:
  Builder(BuiltFrames& out, const ExtentQueue::Batch& batch, std::uint64_t hash_seed)
      : out_(out),
        disk_(batch.disk),
        pass_(batch.pass),
        sector_bytes_(batch.sector_bytes),
        hash_seed_(hash_seed) {}

  void add_range(const WorkItem& item) {
    add({.header = header(item.kind, item.virtual_offset, item.length), .again = item});
  }
  /// A data item, whose bytes are `bytes`.
  void add_data(const WorkItem& item, std::span<const std::byte> bytes);
  /// Cells to be compared, whose bytes, absent sectors as zeros, are `bytes`.
  void add_held(const WorkItem& item, std::span<const std::byte> bytes);

 private:
  FrameHeader header(FrameKind kind, std::uint64_t offset, std::uint64_t length) const {
    return {
        .kind = kind, .disk = disk_, .pass = pass_, .virtual_offset = offset, .raw_length = length};
  }
  void add(const ExtentQueue::Sent& sent, std::span<const std::byte> payload = {}) {
    out_.frames.push_back(sent);
    out_.payloads.push_back(payload);
  }
  void add_part(const WorkItem& item, std::uint64_t begin, std::span<const std::byte> bytes,
                bool zero);
  std::optional<ExtentQueue::Sent> same_cell(const WorkItem& item, std::uint64_t offset,
                                             std::span<const std::byte> bytes);
  void add_parts(const HeldCells& held, std::uint64_t begin, std::uint64_t end,
                 std::span<const std::byte> bytes);

  BuiltFrames& out_;
  const std::uint32_t disk_;
  const std::uint32_t pass_;
  const std::uint32_t sector_bytes_;
  const std::uint64_t hash_seed_;
};

// The piece of `item` that lies in [begin, end); none if its length is 0.
WorkItem clipped(const WorkItem& item, std::uint64_t begin, std::uint64_t end) {
  WorkItem piece = item;
  begin = std::max(begin, item.virtual_offset);
  end = std::min(end, item.virtual_offset + item.length);
  piece.length = begin < end ? end - begin : 0;
  piece.virtual_offset = begin;
  piece.file_offset += begin - item.virtual_offset;
  return piece;
}

void Builder::add_part(const WorkItem& item, std::uint64_t begin, std::span<const std::byte> bytes,
                       bool zero) {
  const WorkItem part =
      clipped(item, item.virtual_offset + begin, item.virtual_offset + begin + bytes.size());
  FrameHeader frame =
      header(zero ? FrameKind::kZero : FrameKind::kData, part.virtual_offset, bytes.size());
  ExtentQueue::Sent sent{.header = {}, .again = part, .read_bytes = bytes.size()};
  if (zero) {
    out_.zero_bytes += bytes.size();
    bytes = {};
  } else {
    frame.wire_length = static_cast<std::uint32_t>(bytes.size());
    frame.hash = hash128(bytes, hash_seed_);
    out_.payload_bytes += bytes.size();
  }
  sent.header = frame;
  add(sent, bytes);
}

void Builder::add_data(const WorkItem& item, std::span<const std::byte> bytes) {
  std::uint64_t run_begin = 0;
  bool run_zero = false;
  for (std::uint64_t at = 0; at < item.length;) {
    const std::uint64_t to_grid = kCellBytes - (item.virtual_offset + at) % kCellBytes;
    const std::uint64_t cell = std::min(item.length - at, to_grid);
    const bool zero = all_zero(bytes.subspan(at, cell));
    if (at > 0 && zero != run_zero) {
      add_part(item, run_begin, bytes.subspan(run_begin, at - run_begin), run_zero);
      run_begin = at;
    }
    run_zero = zero;
    at += cell;
  }
  add_part(item, run_begin, bytes.subspan(run_begin), run_zero);
}

// The frame for the cell at `offset`, if it is what the receiver holds.
std::optional<ExtentQueue::Sent> Builder::same_cell(const WorkItem& item, std::uint64_t offset,
                                                    std::span<const std::byte> bytes) {
  const HeldCells& held = *item.held;
  const Hash128& theirs = held.hashes[(offset - held.virtual_offset) / kCellBytes];
  if (theirs == Hash128{}) return std::nullopt;
  SectorPresence presence(bytes.size(), sector_bytes_);
  std::uint64_t data_bytes = 0;
  for (const WorkItem& part : held.parts) {
    const WorkItem piece = clipped(part, offset, offset + bytes.size());
    if (piece.length == 0 || piece.kind == FrameKind::kTransparent) continue;
    presence.set(piece.virtual_offset - offset, piece.length);
    if (piece.kind == FrameKind::kData) data_bytes += piece.length;
  }
  // Without data there is nothing to save; zeros say themselves what they are.
  if (data_bytes == 0 || (presence.all() && all_zero(bytes))) return std::nullopt;
  if (cell_hash(bytes, presence, hash_seed_) != theirs) return std::nullopt;
  WorkItem cell = item;
  cell.virtual_offset = offset;
  cell.length = bytes.size();
  ExtentQueue::Sent sent{.header = header(FrameKind::kSame, offset, bytes.size()),
                         .again = std::move(cell),
                         .read_bytes = data_bytes};
  sent.header.hash = theirs;
  return sent;
}

// What the source has in [begin, end), whose bytes are `bytes`.
void Builder::add_parts(const HeldCells& held, std::uint64_t begin, std::uint64_t end,
                        std::span<const std::byte> bytes) {
  for (const WorkItem& part : held.parts) {
    const WorkItem piece = clipped(part, begin, end);
    if (piece.length == 0) continue;
    if (piece.kind == FrameKind::kData) {
      add_data(piece, bytes.subspan(piece.virtual_offset - begin, piece.length));
    } else {
      add_range(piece);
    }
  }
}

void Builder::add_held(const WorkItem& item, std::span<const std::byte> bytes) {
  const std::uint64_t first = item.virtual_offset;
  const std::uint64_t end = first + item.length;
  std::uint64_t sent_to = first;
  for (std::uint64_t at = first; at < end; at += kCellBytes) {
    const std::uint64_t cell = std::min(kCellBytes, end - at);
    const auto same = same_cell(item, at, bytes.subspan(at - first, cell));
    if (!same) continue;
    add_parts(*item.held, sent_to, at, bytes.subspan(sent_to - first, at - sent_to));
    add(*same);
    out_.same_bytes += same->read_bytes;
    sent_to = at + cell;
  }
  add_parts(*item.held, sent_to, end, bytes.subspan(sent_to - first, end - sent_to));
}

// Fills `out` with what the source has of held cells, absent sectors as zeros.
Result<void> read_held(const WorkItem& item, std::span<std::byte> out) {
  for (const WorkItem& part : item.held->parts) {
    const WorkItem piece = clipped(part, item.virtual_offset, item.virtual_offset + item.length);
    if (piece.length == 0) continue;
    const auto bytes = out.subspan(piece.virtual_offset - item.virtual_offset, piece.length);
    if (piece.kind == FrameKind::kData) {
      VHDXM_TRY_VOID(read_exact_at(*piece.file, piece.file_offset, bytes, "payload of the disk"));
    } else {
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
    }
  }
  return {};
}

}  // namespace

Result<BuiltFrames> build_frames(const ExtentQueue::Batch& batch, std::span<std::byte> buffer,
                                 std::uint64_t hash_seed, BufferPool& pool) {
  VHDXM_CHECK(batch.payload_bytes <= buffer.size());
  BuiltFrames out;
  Builder builder(out, batch, hash_seed);
  for (const WorkItem& item : batch.items) {
    const auto bytes = buffer.first(item.payload_bytes());
    buffer = buffer.subspan(item.payload_bytes());
    if (item.kind == FrameKind::kData) {
      VHDXM_TRY_VOID(read_exact_at(*item.file, item.file_offset, bytes, "payload of the disk"));
      pool.note(BufferPool::Stage::kFilled, bytes);
      builder.add_data(item, bytes);
    } else if (item.kind == FrameKind::kSame) {
      VHDXM_TRY_VOID(read_held(item, bytes));
      pool.note(BufferPool::Stage::kFilled, bytes);
      builder.add_held(item, bytes);
    } else {
      builder.add_range(item);
    }
  }
  for (const auto& payload : out.payloads) pool.note(BufferPool::Stage::kHashed, payload);
  return out;
}

}  // namespace vhdxm::transfer
