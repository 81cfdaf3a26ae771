#include "vhdx/bulk_writer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "vhdx/bat_writer.h"
#include "vhdx/bitmap_bits.h"
#include "vhdx/header_section.h"
#include "vhdx/metadata_writer.h"

namespace vhdxm::vhdx {
namespace {

constexpr const char* kReadBackWhere = "range of an arriving disk";
constexpr std::array<std::byte, 256 * kKiB> kZeros{};

Error out_of_range(const char* where, std::uint64_t virtual_offset,
                   std::optional<std::uint64_t> found = std::nullopt,
                   std::optional<std::uint64_t> expected = std::nullopt) {
  return Error{.code = BaseErrc::kOutOfRange,
               .where = where,
               .offset = virtual_offset,
               .found = found,
               .expected = expected};
}

Error invalid(const char* where, std::uint64_t offset = Error::kNoOffset) {
  return Error{.code = BaseErrc::kInvalidArgument, .where = where, .offset = offset};
}

}  // namespace

BulkWriter::BulkWriter(std::shared_ptr<File> file, Description description, BlockPlan plan,
                       FileLayout layout)
    : file_(std::move(file)),
      description_(std::move(description)),
      plan_(std::move(plan)),
      layout_(layout) {}

Result<std::unique_ptr<BulkWriter>> BulkWriter::prepare(std::shared_ptr<File> file,
                                                        Description description, BlockPlan plan) {
  auto layout = plan_layout(description);
  if (layout.has_error()) return std::move(layout).error().about(file->name());
  if (plan.geometry() != description.geometry) {
    return invalid("the block plan is for a disk of another geometry").about(file->name());
  }
  if (!plan.sealed()) plan.seal(layout->payload_begin);
  VHDXM_CHECK(plan.payload_begin() == layout->payload_begin);
  const std::uint64_t blocks = plan.geometry().block_count();
  if (plan.geometry().type == DiskType::kFixed && plan.present_count() != blocks) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "block plan: present blocks of a fixed disk",
                 .found = plan.present_count(),
                 .expected = blocks,
                 .subject = file->name()};
  }
  return std::unique_ptr<BulkWriter>(
      new BulkWriter(std::move(file), std::move(description), std::move(plan), *layout));
}

Result<std::unique_ptr<BulkWriter>> BulkWriter::start(std::shared_ptr<File> file,
                                                      Description description, BlockPlan plan,
                                                      Options options) {
  VHDXM_TRY(const std::uint64_t old_bytes, file->size());
  if (old_bytes != 0) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "a disk can only be written to an empty file; its length",
                 .found = old_bytes,
                 .expected = 0,
                 .subject = file->name()};
  }
  VHDXM_TRY(auto writer, prepare(std::move(file), std::move(description), std::move(plan)));
  const std::uint64_t bytes = writer->plan_.file_bytes();
  VHDXM_TRY_VOID(writer->file_->resize(bytes));
  writer->keep_room_ =
      options.preallocate || writer->description_.geometry.type == DiskType::kFixed;
  if (writer->keep_room_) VHDXM_TRY_VOID(writer->file_->allocate(0, bytes));
  return writer;
}

Result<std::unique_ptr<BulkWriter>> BulkWriter::resume(std::shared_ptr<File> file,
                                                       Description description, BlockPlan plan,
                                                       Options options) {
  VHDXM_TRY(const std::uint64_t bytes, file->size());
  VHDXM_TRY(auto writer, prepare(std::move(file), std::move(description), std::move(plan)));
  if (bytes != writer->plan_.file_bytes()) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "length of a file that was to be resumed",
                 .found = bytes,
                 .expected = writer->plan_.file_bytes(),
                 .subject = writer->file_->name()};
  }
  // A seal() that did not end may have left a header section, and BAT entries that hold no more.
  // Only the header section has to be gone, durably, before anything else changes.
  VHDXM_TRY_VOID(writer->unseal());
  VHDXM_TRY_VOID(writer->file_->punch_hole(kHeaderSectionBytes,
                                           writer->layout_.payload_begin - kHeaderSectionBytes));
  writer->keep_room_ =
      options.preallocate || writer->description_.geometry.type == DiskType::kFixed;
  if (writer->keep_room_) VHDXM_TRY_VOID(writer->file_->allocate(0, bytes));
  return writer;
}

Result<void> BulkWriter::check_range(std::uint64_t virtual_offset, std::uint64_t length) const {
  const Geometry& geometry = description_.geometry;
  if (virtual_offset % geometry.logical_sector_bytes != 0) {
    return out_of_range("a range of an arriving disk does not start at a sector", virtual_offset);
  }
  if (length % geometry.logical_sector_bytes != 0) {
    return out_of_range("a range of an arriving disk is no whole number of sectors", virtual_offset,
                        length);
  }
  if (virtual_offset > geometry.virtual_size_bytes ||
      length > geometry.virtual_size_bytes - virtual_offset) {
    return out_of_range("a range reaches past the end of the arriving disk", virtual_offset, length,
                        geometry.virtual_size_bytes);
  }
  return {};
}

Result<void> BulkWriter::check_planned(std::uint64_t virtual_offset, std::uint64_t length) const {
  VHDXM_TRY_VOID(check_range(virtual_offset, length));
  for (std::uint64_t done = 0; done < length;) {
    const Piece piece = piece_at(virtual_offset + done, length - done);
    if (plan_.use(piece.block) == BlockUse::kAbsent) {
      return out_of_range("content for a block that the plan says has none", virtual_offset + done);
    }
    done += piece.length;
  }
  return {};
}

BulkWriter::Piece BulkWriter::piece_at(std::uint64_t virtual_offset, std::uint64_t length) const {
  const std::uint64_t block_bytes = description_.geometry.block_bytes;
  const std::uint64_t in_block = virtual_offset % block_bytes;
  return {.block = virtual_offset / block_bytes,
          .in_block = in_block,
          .length = std::min(length, block_bytes - in_block)};
}

std::uint64_t BulkWriter::file_offset(const Piece& piece) const {
  return plan_.payload_offset(piece.block) + piece.in_block;
}

Result<void> BulkWriter::write(std::uint64_t virtual_offset, std::span<const std::byte> bytes) {
  VHDXM_TRY_VOID(check_planned(virtual_offset, bytes.size()));
  VHDXM_TRY_VOID(kept_error());
  while (!bytes.empty()) {
    const Piece piece = piece_at(virtual_offset, bytes.size());
    const auto length = static_cast<std::size_t>(piece.length);
    VHDXM_TRY_VOID(keep(file_->write_at(file_offset(piece), bytes.first(length))));
    VHDXM_TRY_VOID(set_bits(piece, BitmapValue::kPresent));
    virtual_offset += length;
    bytes = bytes.subspan(length);
  }
  return {};
}

Result<bool> BulkWriter::share(std::uint64_t virtual_offset, std::uint64_t length, File& source,
                               std::uint64_t source_offset) {
  VHDXM_TRY_VOID(check_planned(virtual_offset, length));
  VHDXM_TRY_VOID(kept_error());
  const Piece piece = piece_at(virtual_offset, length);
  if (piece.length != length || description_.geometry.type == DiskType::kFixed) return false;
  const auto shared = file_->share_from(source, source_offset, file_offset(piece), length);
  if (shared.has_error()) {
    VHDXM_TRY_VOID(keep(shared.error()));
  }
  if (!*shared) return false;
  VHDXM_TRY_VOID(set_bits(piece, BitmapValue::kPresent));
  return true;
}

Result<void> BulkWriter::set_bits(const Piece& piece, BitmapValue value) {
  if (plan_.use(piece.block) != BlockUse::kPartial) return {};
  const Geometry& geometry = description_.geometry;
  const std::uint64_t ratio = geometry.chunk_ratio();
  const std::uint64_t chunk = piece.block / ratio;
  const std::uint64_t in_chunk = piece.block % ratio * geometry.block_bytes + piece.in_block;
  const std::lock_guard lock(bitmap_mutex_);
  return keep(
      write_bits(*file_, *plan_.bitmap_offset(chunk), in_chunk / geometry.logical_sector_bytes,
                 piece.length / geometry.logical_sector_bytes, value == BitmapValue::kPresent));
}

Result<void> BulkWriter::check_mark(ExtentKind kind, std::uint64_t virtual_offset,
                                    std::uint64_t length) const {
  VHDXM_TRY_VOID(check_range(virtual_offset, length));
  const Geometry& geometry = description_.geometry;
  const bool transparent = kind == ExtentKind::kParent;
  if (!transparent && kind != ExtentKind::kZero && kind != ExtentKind::kUnmapped) {
    return invalid("only zero, unmapped and transparent ranges go without content", virtual_offset);
  }
  if (transparent && geometry.type != DiskType::kDifferencing) {
    return invalid("a transparent range in a disk that has no parent", virtual_offset);
  }
  if (length == 0) return {};
  // Only the first and the last block can be covered in part.
  const std::uint64_t end = virtual_offset + length;
  const std::uint64_t first_block = virtual_offset / geometry.block_bytes;
  const std::uint64_t last_block = (end - 1) / geometry.block_bytes;
  const std::uint64_t last_end =
      std::min((last_block + 1) * geometry.block_bytes, geometry.virtual_size_bytes);
  const bool first_cut =
      virtual_offset % geometry.block_bytes != 0 || (first_block == last_block && end != last_end);
  if ((first_cut && plan_.use(first_block) == BlockUse::kAbsent) ||
      (end != last_end && plan_.use(last_block) == BlockUse::kAbsent)) {
    return out_of_range("a range without content covers only a part of an absent block",
                        virtual_offset, length);
  }
  if (!transparent) return {};
  for (std::uint64_t block = plan_.next_present(first_block, last_block + 1); block <= last_block;
       block = plan_.next_present(block + 1, last_block + 1)) {
    if (plan_.use(block) == BlockUse::kFull) {
      return invalid("a transparent range in a block that the plan says is full",
                     std::max(virtual_offset, block * geometry.block_bytes));
    }
  }
  return {};
}

Result<void> BulkWriter::mark(ExtentKind kind, std::uint64_t virtual_offset, std::uint64_t length) {
  VHDXM_TRY_VOID(check_mark(kind, virtual_offset, length));
  VHDXM_TRY_VOID(kept_error());
  const std::uint64_t block_bytes = description_.geometry.block_bytes;
  while (length != 0) {
    const Piece piece = piece_at(virtual_offset, length);
    std::uint64_t done = piece.length;
    if (plan_.use(piece.block) == BlockUse::kAbsent) {
      const std::uint64_t end_block = plan_.next_present(
          piece.block, (virtual_offset + length + block_bytes - 1) / block_bytes);
      mark_absent(kind, piece.block, end_block);
      done = std::min(length, (end_block - piece.block) * block_bytes);
    } else if (kind == ExtentKind::kParent) {
      VHDXM_TRY_VOID(set_bits(piece, BitmapValue::kTransparent));
    } else {
      VHDXM_TRY_VOID(keep(zero(file_offset(piece), piece.length)));
      VHDXM_TRY_VOID(set_bits(piece, BitmapValue::kPresent));
    }
    virtual_offset += done;
    length -= done;
  }
  return {};
}

void BulkWriter::mark_absent(ExtentKind kind, std::uint64_t first_block, std::uint64_t end_block) {
  AbsentState state = AbsentState::kNotPresent;
  if (kind == ExtentKind::kZero) {
    state = AbsentState::kZero;
  } else if (kind == ExtentKind::kUnmapped &&
             description_.geometry.type == DiskType::kDifferencing) {
    state = AbsentState::kUnmapped;
  }
  const std::lock_guard lock(mutex_);
  if (absent_states_.empty()) {
    if (state == AbsentState::kNotPresent) return;
    absent_states_.resize(plan_.encoded().size());
  }
  constexpr unsigned kEach = 0x55;  // One in each of the four fields of a byte.
  const auto four = static_cast<std::byte>(kEach * static_cast<unsigned>(state));
  for (std::uint64_t block = first_block; block < end_block;) {
    std::byte& byte = absent_states_[static_cast<std::size_t>(block / 4)];
    if (block % 4 == 0 && end_block - block >= 4) {
      byte = four;
      block += 4;
      continue;
    }
    const std::byte mask = std::byte{3} << (block % 4 * 2);
    byte = (byte & ~mask) | (four & mask);
    ++block;
  }
}

Result<void> BulkWriter::zero(std::uint64_t file_offset, std::uint64_t length) {
  // A new file reads as zero where nobody wrote; only where somebody did is there work.
  const std::uint64_t end = file_offset + length;
  for (std::uint64_t at = file_offset; at < end;) {
    VHDXM_TRY(const File::DataRun run, file_->next_data(at));
    const std::uint64_t begin = std::max(run.begin, at);
    const std::uint64_t stop = std::min(run.end, end);
    if (begin >= stop) return {};
    if (keep_room_) {
      for (std::uint64_t done = begin; done < stop;) {
        const auto piece = std::min<std::uint64_t>(kZeros.size(), stop - done);
        VHDXM_TRY_VOID(
            file_->write_at(done, std::span(kZeros).first(static_cast<std::size_t>(piece))));
        done += piece;
      }
    } else {
      VHDXM_TRY_VOID(file_->punch_hole(begin, stop - begin));
    }
    at = stop;
  }
  return {};
}

Result<void> BulkWriter::read_back(std::uint64_t virtual_offset, std::span<std::byte> out) {
  VHDXM_TRY_VOID(check_planned(virtual_offset, out.size()));
  while (!out.empty()) {
    const Piece piece = piece_at(virtual_offset, out.size());
    const auto length = static_cast<std::size_t>(piece.length);
    VHDXM_TRY_VOID(read_exact_at(*file_, file_offset(piece), out.first(length), kReadBackWhere));
    virtual_offset += length;
    out = out.subspan(length);
  }
  return {};
}

Result<void> BulkWriter::read_presence(std::uint64_t virtual_offset, std::uint64_t length,
                                       std::vector<bool>& out) {
  VHDXM_TRY_VOID(check_planned(virtual_offset, length));
  const Geometry& geometry = description_.geometry;
  const std::uint64_t ratio = geometry.chunk_ratio();
  while (length != 0) {
    const Piece piece = piece_at(virtual_offset, length);
    const std::uint64_t sectors = piece.length / geometry.logical_sector_bytes;
    if (plan_.use(piece.block) == BlockUse::kFull) {
      out.insert(out.end(), static_cast<std::size_t>(sectors), true);
    } else {
      const std::uint64_t first = (piece.block % ratio * geometry.block_bytes + piece.in_block) /
                                  geometry.logical_sector_bytes;
      const std::lock_guard lock(bitmap_mutex_);
      VHDXM_TRY_VOID(
          read_bits(*file_, *plan_.bitmap_offset(piece.block / ratio), first, sectors, out));
    }
    virtual_offset += piece.length;
    length -= piece.length;
  }
  return {};
}

Result<void> BulkWriter::keep(Result<void> result) {
  if (result.has_error()) [[unlikely]] {
    Error error = std::move(result).error().about(file_->name());
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
    return error;
  }
  return result;
}

Result<void> BulkWriter::kept_error() {
  const std::lock_guard lock(mutex_);
  if (error_) return *error_;
  return {};
}

Result<void> BulkWriter::sync() {
  VHDXM_TRY_VOID(kept_error());
  return keep(file_->sync());
}

Result<void> BulkWriter::complete() {
  // Payload and bitmaps have to be durable before an entry shows them, and everything before the
  // header section makes a VHDX of the file.
  VHDXM_TRY_VOID(file_->sync());
  VHDXM_TRY_VOID(write_metadata(*file_, layout_.metadata_offset, description_));
  VHDXM_TRY_VOID(write_bat(*file_, layout_.bat_offset, plan_, absent_states_));
  VHDXM_TRY_VOID(file_->sync());
  VHDXM_TRY_VOID(write_header_section(*file_, layout_, description_.data_write_guid));
  return file_->sync();
}

Result<std::vector<BulkWriter::Range>> BulkWriter::held_ranges(std::uint64_t grid_bytes,
                                                               std::size_t ranges_max) {
  const std::uint64_t block_bytes = description_.geometry.block_bytes;
  const std::uint64_t size = description_.geometry.virtual_size_bytes;
  const std::uint64_t blocks = description_.geometry.block_count();
  VHDXM_CHECK(grid_bytes != 0 && block_bytes % grid_bytes == 0);
  std::vector<Range> ranges;
  File::DataRun run;
  for (std::uint64_t block = plan_.next_present(0, blocks);
       block < blocks && ranges.size() < ranges_max;
       block = plan_.next_present(block + 1, blocks)) {
    const std::uint64_t begin = plan_.payload_offset(block);
    const std::uint64_t end = begin + block_bytes;
    for (std::uint64_t at = begin; at < end;) {
      if (run.end <= at) {
        VHDXM_TRY(run, file_->next_data(at));
        if (run.begin == run.end) return ranges;  // only a hole follows
      }
      if (run.begin >= end) break;
      // Widened inside the block: both of its ends are on the grid, and so is `begin`.
      const std::uint64_t first =
          block * block_bytes + (std::max(run.begin, at) - begin) / grid_bytes * grid_bytes;
      const std::uint64_t in_block =
          (std::min(run.end, end) - begin + grid_bytes - 1) / grid_bytes * grid_bytes;
      at = begin + in_block;
      const std::uint64_t last = std::min(block * block_bytes + in_block, size);
      if (first >= last) continue;  // behind the end of the disk
      if (!ranges.empty() && ranges.back().offset + ranges.back().length >= first) {
        ranges.back().length = last - ranges.back().offset;
      } else {
        ranges.push_back({.offset = first, .length = last - first});
      }
    }
  }
  return ranges;
}

Result<bool> BulkWriter::holds(std::uint64_t virtual_offset, std::uint64_t length) {
  VHDXM_TRY_VOID(check_range(virtual_offset, length));
  for (std::uint64_t done = 0; done < length;) {
    const Piece piece = piece_at(virtual_offset + done, length - done);
    done += piece.length;
    if (plan_.use(piece.block) == BlockUse::kAbsent) continue;
    VHDXM_TRY(const File::DataRun run, file_->next_data(file_offset(piece)));
    if (run.begin < std::min(run.end, file_offset(piece) + piece.length)) return true;
  }
  return false;
}

Result<void> BulkWriter::unseal() {
  VHDXM_TRY_VOID(keep(file_->punch_hole(0, kHeaderSectionBytes)));
  return keep(file_->sync());
}

Result<void> BulkWriter::seal() {
  VHDXM_TRY_VOID(kept_error());
  return keep(complete());
}

Result<void> create(std::shared_ptr<File> file, Description description) {
  if (description.virtual_disk_id.is_zero()) description.virtual_disk_id = Guid::random();
  if (description.data_write_guid.is_zero()) description.data_write_guid = Guid::random();
  VHDXM_TRY_VOID(description.geometry.validate());
  BlockPlan plan(description.geometry);
  VHDXM_TRY(const auto writer, BulkWriter::start(std::move(file), std::move(description),
                                                 std::move(plan), BulkWriter::Options{}));
  return writer->seal();
}

}  // namespace vhdxm::vhdx
