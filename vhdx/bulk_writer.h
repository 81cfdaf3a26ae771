// Writes a disk that arrives: payload first, durable, then the metadata that makes it a disk.
//
// Until seal() the header section holds nothing, so no reader takes the file for a VHDX whatever
// happens; seal() makes payload durable, writes and syncs metadata, BAT and bitmaps, and last the
// file identifier, region tables and headers (clean log), and syncs again. The caller gives the
// file its final name after that.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/file.h"
#include "vhdx/block_plan.h"
#include "vhdx/description.h"
#include "vhdx/extent.h"
#include "vhdx/file_layout.h"

namespace vhdxm::vhdx {

/// Thread safety: write(), share(), mark(), read_back() and sync() may be called from several
/// threads for ranges that do not overlap; seal() when no other call is under way. Errors of the
/// file are sticky: after one, every later call fails with it, seal() too.
class BulkWriter {
 public:
  struct Options {
    bool preallocate = false;  ///< Reserves the file's room first. Always done for fixed disks.
  };

  /// Starts on an empty file. The plan is sealed here.
  /// Errors: an invalid description, a plan of another geometry, ENOSPC, the file's.
  static Result<std::unique_ptr<BulkWriter>> start(std::shared_ptr<File> file,
                                                   Description description, BlockPlan plan,
                                                   Options options);

  /// Goes on with a file that start() was called on, with an equal description and plan, by this
  /// process or one that died. Payload and sector bitmaps are as they were left; what mark() said
  /// of absent blocks is forgotten. Errors: those of start(); BaseErrc::kInvalidArgument if the
  /// file has not the plan's size.
  static Result<std::unique_ptr<BulkWriter>> resume(std::shared_ptr<File> file,
                                                    Description description, BlockPlan plan,
                                                    Options options);

  /// Content for [virtual_offset, + size), inside one or more planned blocks.
  /// Units: bytes, multiples of the logical sector size.
  /// Errors: BaseErrc::kOutOfRange for a range outside the disk or in an absent block.
  Result<void> write(std::uint64_t virtual_offset, std::span<const std::byte> bytes);

  /// write() of what `source` holds from `source_offset` on, by sharing the file system's blocks.
  /// False: that is not possible here, or the range is not of one block, or the disk is fixed,
  /// which keeps room of its own; the range has to be written then. What was shared is for the
  /// caller to verify, by read_back(). Errors: as write().
  Result<bool> share(std::uint64_t virtual_offset, std::uint64_t length, File& source,
                     std::uint64_t source_offset);

  /// Says what [virtual_offset, + length) is that has no payload: kZero, kUnmapped or kParent.
  /// In planned blocks kZero and kUnmapped read as zero (and are present in a partial block), and
  /// kParent, allowed in partial blocks only, leaves the sectors transparent. Of an absent block it
  /// must cover all that lies inside the disk. Absent blocks nobody marks are NOT_PRESENT; so are
  /// kUnmapped ones where there is no parent to hide.
  /// Cost: no I/O for absent blocks, nor for zeros where nothing was written.
  /// Errors: BaseErrc::kOutOfRange, kInvalidArgument.
  Result<void> mark(ExtentKind kind, std::uint64_t virtual_offset, std::uint64_t length);

  /// Reads what [virtual_offset, + size) of planned blocks holds now; sectors that are transparent
  /// read as anything. For comparing a resumed file with its source.
  /// Errors: as write().
  Result<void> read_back(std::uint64_t virtual_offset, std::span<std::byte> out);

  /// Reads which sectors of [virtual_offset, + length) of planned blocks are present: appends one
  /// bool a sector. All are in a full block. Errors: as write().
  Result<void> read_presence(std::uint64_t virtual_offset, std::uint64_t length,
                             std::vector<bool>& out);

  /// The ranges of planned blocks in which the file may hold content, as far as its holes tell:
  /// in order, joined, widened to multiples of `grid_bytes` or the end of the disk.
  /// Stops when there are `ranges_max`. Requires: grid_bytes divides the block size. Cost: a look
  /// at the file for each of its runs of data, and no reading.
  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  Result<std::vector<Range>> held_ranges(std::uint64_t grid_bytes,
                                         std::size_t ranges_max = ~std::size_t{0});

  /// Whether the file may hold content in the range, as far as its holes tell.
  Result<bool> holds(std::uint64_t virtual_offset, std::uint64_t length);

  /// Makes what was written so far durable.
  Result<void> sync();

  /// Takes back what a seal() made of the file: until the next one nobody takes it for a VHDX.
  Result<void> unseal();

  /// Completes the file and makes it durable; afterwards it is a valid VHDX with a new
  /// FileWriteGuid, and this object is of no more use.
  Result<void> seal();

  const BlockPlan& plan() const { return plan_; }
  const Description& description() const { return description_; }
  const FileLayout& layout() const { return layout_; }

 private:
  /// The part of a range that lies in one block.
  struct Piece {
    std::uint64_t block = 0;
    std::uint64_t in_block = 0;  ///< Bytes.
    std::uint64_t length = 0;    ///< Bytes.
  };
  enum class BitmapValue : bool { kTransparent = false, kPresent = true };

  BulkWriter(std::shared_ptr<File> file, Description description, BlockPlan plan,
             FileLayout layout);
  static Result<std::unique_ptr<BulkWriter>> prepare(std::shared_ptr<File> file,
                                                     Description description, BlockPlan plan);

  Result<void> check_range(std::uint64_t virtual_offset, std::uint64_t length) const;
  Result<void> check_planned(std::uint64_t virtual_offset, std::uint64_t length) const;
  Piece piece_at(std::uint64_t virtual_offset, std::uint64_t length) const;
  std::uint64_t file_offset(const Piece& piece) const;

  Result<void> check_mark(ExtentKind kind, std::uint64_t virtual_offset,
                          std::uint64_t length) const;
  void mark_absent(ExtentKind kind, std::uint64_t first_block, std::uint64_t end_block);
  Result<void> set_bits(const Piece& piece, BitmapValue value);
  Result<void> zero(std::uint64_t file_offset, std::uint64_t length);
  Result<void> complete();

  /// Remembers an error of the file, and returns it.
  Result<void> keep(Result<void> result);
  Result<void> kept_error();

  std::shared_ptr<File> file_;
  Description description_;
  BlockPlan plan_;
  FileLayout layout_;
  bool keep_room_ = false;  ///< Zeros are written, not punched: the file was preallocated.

  std::mutex bitmap_mutex_;  ///< Held while bytes of bitmap blocks are read, changed and written.
  std::mutex mutex_;
  // State below is protected by mutex_.
  std::vector<std::byte> absent_states_;  ///< AbsentState of each block, 2 bits; empty: all zero.
  std::optional<Error> error_;
};

/// Makes an empty disk: BulkWriter with nothing in it (a fixed disk is preallocated). A
/// virtual_disk_id or data_write_guid that is zero is replaced by a new one.
Result<void> create(std::shared_ptr<File> file, Description description);

}  // namespace vhdxm::vhdx
