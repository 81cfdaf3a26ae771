#include "vhdx/raw_transfer.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/buffer_pool.h"
#include "base/hash128.h"
#include "vhdx/bulk_writer.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::uint64_t kPieceBytes = 1 << 20;
constexpr unsigned kCopyThreads = 4;  // docs/performance.md#import
/// Zeros inside of data are left out where they fill an aligned piece of this size.
constexpr std::size_t kHoleBytes = 64 << 10;
/// How much is read at a time while a block is searched for its first nonzero byte.
constexpr std::size_t kLookBytes = 128 << 10;

/// Calls write(offset, bytes) for every part of `piece`, which stands at `offset`, that is not
/// zeros of kHoleBytes. Returns how many bytes that was.
template <class Write>
Result<std::uint64_t> write_nonzero(std::uint64_t offset, std::span<const std::byte> piece,
                                    Write write) {
  std::uint64_t written = 0;
  std::size_t begin = 0;  // Of the part that is not written yet.
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t length =
        std::min<std::size_t>(kHoleBytes - (offset + at) % kHoleBytes, piece.size() - at);
    if (all_zero(piece.subspan(at, length))) {
      if (begin < at) VHDXM_TRY_VOID(write(offset + begin, piece.subspan(begin, at - begin)));
      written += at - begin;
      begin = at + length;
    }
    at += length;
  }
  if (begin < piece.size()) VHDXM_TRY_VOID(write(offset + begin, piece.subspan(begin)));
  return written + (piece.size() - begin);
}

Result<void> write_all(int fd, std::span<const std::byte> bytes, const std::string& fd_name) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0) {
      if (errno == EINTR) continue;
      return errno_error("write").about(fd_name);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

/// One import: finds the blocks that hold anything, then copies them.
class Import {
 public:
  Import(ContentSource& source, const Geometry& geometry, const WorkWatch& watch)
      : source_(source), geometry_(geometry), watch_(watch) {}

  /// Blocks that are all zero are settled by this, the others by copy().
  Result<BlockPlan> plan() {
    BlockPlan plan(geometry_);
    if (geometry_.type == DiskType::kFixed) return plan;
    RunCursor runs(source_);
    const std::uint64_t block_bytes = geometry_.block_bytes;
    for (std::uint64_t offset = 0; offset < source_.size_bytes(); offset += block_bytes) {
      VHDXM_TRY_VOID(report());
      VHDXM_TRY(const ContentRun run, runs.at(offset));
      if (run.is_zero && run.length > block_bytes) {
        // All whole blocks of a long run at once; the last is left to the loop.
        const std::uint64_t skipped = (run.length / block_bytes - 1) * block_bytes;
        settled_bytes_ += skipped;
        offset += skipped;
      }
      VHDXM_TRY(const bool found, holds_data(runs, offset, block_end(offset)));
      if (found) {
        plan.set(offset / block_bytes, BlockUse::kFull);
      } else {
        settled_bytes_ += block_bytes;
      }
    }
    return plan;
  }

  /// Returns how many bytes were written. Reading, looking for zeros and writing overlap: each of a
  /// few threads does all three with a piece of its own.
  Result<std::uint64_t> copy(BulkWriter& writer) {
    Pieces pieces(*this, writer.plan());
    std::atomic<std::uint64_t> written = 0;
    const auto work = [&] {
      BufferPool pool(kPieceBytes, 1);
      const Buffer buffer = pool.acquire();
      for (;;) {
        const std::optional<Pieces::Piece> piece = pieces.next();
        if (!piece) return;
        auto copied = copy_piece(writer, piece->offset, piece->length, buffer.bytes());
        if (copied.has_error()) return pieces.fail(std::move(copied).error());
        written += *copied;
      }
    };
    std::vector<std::thread> threads;
    for (unsigned i = 1; i < kCopyThreads; ++i) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
    VHDXM_TRY_VOID(pieces.result());
    return written.load();
  }

  Result<void> report_end() const {
    return watch_.at(geometry_.virtual_size_bytes, geometry_.virtual_size_bytes);
  }

 private:
  /// Hands out what may hold data, in order, to several threads.
  class Pieces {
   public:
    struct Piece {
      std::uint64_t offset = 0;
      std::uint64_t length = 0;
    };
    Pieces(Import& import, const BlockPlan& plan)
        : import_(import),
          plan_(plan),
          block_bytes_(import.geometry_.block_bytes),
          blocks_((import.source_.size_bytes() + block_bytes_ - 1) / block_bytes_),
          offset_(plan.next_present(0, blocks_) * block_bytes_) {}

    /// Nothing at the end, and after a failure.
    std::optional<Piece> next() {
      const std::lock_guard lock(mutex_);
      if (error_) return std::nullopt;
      auto found = find();
      if (!found.has_error()) return *found;
      error_ = std::move(found).error();
      return std::nullopt;
    }
    void fail(Error error) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::move(error);
    }
    Result<void> result() const {
      if (error_) return *error_;
      return {};
    }

   private:
    Result<std::optional<Piece>> find() {
      while (offset_ < blocks_ * block_bytes_) {
        const std::uint64_t block = offset_ / block_bytes_;
        const std::uint64_t end = import_.block_end(block * block_bytes_);
        if (offset_ >= end) {
          offset_ = plan_.next_present(block + 1, blocks_) * block_bytes_;
          continue;
        }
        VHDXM_TRY_VOID(import_.report());
        VHDXM_TRY(const ContentRun run, runs_.at(offset_));
        Piece piece{.offset = offset_, .length = 0};
        // A raw file may end, or have a hole, in the middle of a sector: such a sector is data.
        const std::uint64_t zeros = run.is_zero ? import_.round_down(run.end()) - offset_ : 0;
        std::uint64_t length = std::min(zeros, end - offset_);
        if (length == 0) {
          length = std::min({import_.round_up(run.end()) - offset_, end - offset_, kPieceBytes});
          piece.length = length;
        }
        offset_ += length;
        import_.settled_bytes_ += length;
        // Where the block ends the next begins: not where the last sector of a source was filled
        // up.
        if (piece.length != 0) return std::optional(piece);
      }
      return std::optional<Piece>();
    }

    Import& import_;
    const BlockPlan& plan_;
    const std::uint64_t block_bytes_;
    const std::uint64_t blocks_;
    std::mutex mutex_;
    // Protected by mutex_.
    RunCursor runs_{import_.source_};
    std::uint64_t offset_;
    std::optional<Error> error_;
  };

  Result<void> report() const {
    return watch_.at(std::min(settled_bytes_, geometry_.virtual_size_bytes),
                     geometry_.virtual_size_bytes);
  }

  /// Where the source's part of a block ends.
  std::uint64_t block_end(std::uint64_t block_begin) const {
    return std::min(block_begin + geometry_.block_bytes, source_.size_bytes());
  }

  Result<bool> holds_data(RunCursor& runs, std::uint64_t offset, std::uint64_t end) {
    while (offset < end) {
      VHDXM_TRY(const ContentRun run, runs.at(offset));
      std::uint64_t length = std::min(run.length, end - offset);
      if (!run.is_zero) {
        length = std::min<std::uint64_t>(length, kLookBytes);
        const auto piece = buffer_.bytes().first(static_cast<std::size_t>(length));
        VHDXM_TRY_VOID(source_.read(offset, piece));
        if (!all_zero(piece)) return true;
      }
      offset += length;
    }
    return false;
  }

  Result<std::uint64_t> copy_piece(BulkWriter& writer, std::uint64_t offset, std::uint64_t length,
                                   std::span<std::byte> buffer) {
    const auto piece = buffer.first(static_cast<std::size_t>(round_up(length)));
    const auto content = piece.first(static_cast<std::size_t>(length));
    VHDXM_TRY_VOID(source_.read(offset, content));
    std::fill(piece.begin() + static_cast<std::ptrdiff_t>(length), piece.end(), std::byte{0});
    return write_nonzero(offset, piece, [&](std::uint64_t at, std::span<const std::byte> bytes) {
      return writer.write(at, bytes);
    });
  }

  std::uint64_t round_down(std::uint64_t bytes) const {
    return bytes / geometry_.logical_sector_bytes * geometry_.logical_sector_bytes;
  }
  std::uint64_t round_up(std::uint64_t bytes) const {
    return round_down(bytes + geometry_.logical_sector_bytes - 1);
  }

  ContentSource& source_;
  const Geometry geometry_;
  const WorkWatch& watch_;
  BufferPool pool_{kPieceBytes, 1};
  const Buffer buffer_ = pool_.acquire();
  std::uint64_t settled_bytes_ = 0;
};

}  // namespace

Result<void> export_to_file(ContentSource& source, File& target, const WorkWatch& watch) {
  const std::uint64_t size_bytes = source.size_bytes();
  VHDXM_TRY(const std::uint64_t target_bytes, target.size());
  const bool reads_zero = target_bytes == 0;
  if (reads_zero) {
    VHDXM_TRY_VOID(target.resize(size_bytes));
  } else if (target_bytes < size_bytes) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "the target is smaller than the disk",
                 .found = target_bytes,
                 .expected = size_bytes,
                 .subject = target.name()};
  }
  BufferPool pool(kPieceBytes, 1);
  const Buffer buffer = pool.acquire();
  RunCursor runs(source);
  for (std::uint64_t offset = 0; offset < size_bytes;) {
    VHDXM_TRY_VOID(watch.at(offset, size_bytes));
    VHDXM_TRY(const ContentRun run, runs.at(offset));
    if (run.is_zero) {
      if (!reads_zero) VHDXM_TRY_VOID(target.punch_hole(offset, run.length));
      offset += run.length;
      continue;
    }
    const std::uint64_t length = std::min(run.length, kPieceBytes);
    const auto piece = buffer.bytes().first(static_cast<std::size_t>(length));
    VHDXM_TRY_VOID(source.read(offset, piece));
    if (reads_zero) {
      VHDXM_TRY_VOID(
          write_nonzero(offset, piece, [&](std::uint64_t at, std::span<const std::byte> bytes) {
            return target.write_at(at, bytes);
          }));
    } else {
      VHDXM_TRY_VOID(target.write_at(offset, piece));
    }
    offset += length;
  }
  VHDXM_TRY_VOID(target.sync());
  return watch.at(size_bytes, size_bytes);
}

Result<void> export_to_stream(ContentSource& source, int fd, const std::string& fd_name,
                              const WorkWatch& watch) {
  const std::uint64_t size_bytes = source.size_bytes();
  BufferPool pool(kPieceBytes, 1);
  const Buffer buffer = pool.acquire();
  RunCursor runs(source);
  bool holds_zeros = false;
  for (std::uint64_t offset = 0; offset < size_bytes;) {
    VHDXM_TRY_VOID(watch.at(offset, size_bytes));
    VHDXM_TRY(const ContentRun run, runs.at(offset));
    const std::uint64_t length = std::min(run.length, kPieceBytes);
    const auto piece = buffer.bytes().first(static_cast<std::size_t>(length));
    if (!run.is_zero) {
      VHDXM_TRY_VOID(source.read(offset, piece));
    } else if (!holds_zeros) {
      std::fill(buffer.bytes().begin(), buffer.bytes().end(), std::byte{0});
    }
    holds_zeros = run.is_zero;
    VHDXM_TRY_VOID(write_all(fd, piece, fd_name));
    offset += length;
  }
  return watch.at(size_bytes, size_bytes);
}

Result<ImportSummary> import_content(ContentSource& source, std::shared_ptr<File> target,
                                     Description description, const ImportOptions& options,
                                     const WorkWatch& watch) {
  Geometry& geometry = description.geometry;
  if (geometry.type == DiskType::kDifferencing) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where =
                     "content can be imported into a fixed or dynamic disk, not a "
                     "differencing one",
                 .subject = target->name()};
  }
  const std::uint64_t source_bytes = source.size_bytes();
  if (geometry.virtual_size_bytes == 0 && geometry.logical_sector_bytes != 0) {
    const std::uint64_t sector = geometry.logical_sector_bytes;
    geometry.virtual_size_bytes = source_bytes / sector * sector;
    if (source_bytes % sector != 0) geometry.virtual_size_bytes += sector;
  }
  VHDXM_TRY_VOID(geometry.validate());
  if (geometry.virtual_size_bytes < source_bytes) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "the virtual size is smaller than the content to import",
                 .found = geometry.virtual_size_bytes,
                 .expected = source_bytes,
                 .subject = target->name()};
  }
  if (description.virtual_disk_id.is_zero()) description.virtual_disk_id = Guid::random();
  if (description.data_write_guid.is_zero()) description.data_write_guid = Guid::random();

  Import import(source, geometry, watch);
  VHDXM_TRY(BlockPlan plan, import.plan());
  VHDXM_TRY(const auto writer,
            BulkWriter::start(std::move(target), std::move(description), std::move(plan),
                              {.preallocate = options.preallocate}));
  VHDXM_TRY(const std::uint64_t written, import.copy(*writer));
  VHDXM_TRY_VOID(writer->seal());
  VHDXM_TRY_VOID(import.report_end());
  return ImportSummary{.blocks = writer->plan().geometry().block_count(),
                       .present_blocks = writer->plan().present_count(),
                       .written_bytes = written};
}

}  // namespace vhdxm::vhdx
