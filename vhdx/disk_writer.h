// A disk that is in use: read, written, zeroed and trimmed from many threads, safe at any instant.
//
// What flush() said is there survives a power loss at any moment, torn and reordered sectors
// included. What was not flushed is old or new, sector by sector; never garbage, and never what
// another block held. How: docs/vhdx.md#writing.
//
// Spec: [MS-VHDX] 2.2.2.1, 2.3, 2.5.1. What a write turns each payload state into, and why a child
// never shows its parent again where it was written, zeroed or trimmed, stands at the code.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

#include "base/posix_file.h"
#include "vhdx/image.h"
#include "vhdx/metadata_journal.h"

namespace vhdxm::vhdx {

/// Thread safety: all members may be called from any thread, but close() when no other call is
/// under way. Overlapping writes end in either order, sector by sector.
/// Errors: BaseErrc::kInvalidArgument for ranges that are no whole logical sectors or lie outside
/// the disk; the file's; those of flushing and of metadata are sticky (metadata_journal.h).
class DiskWriter {
 public:
  struct Options {
    bool direct = false;           ///< PosixFile::Options::direct.
    std::size_t pages_max = 2048;  ///< MetadataJournal::Options::pages_max.
  };

  /// Opens the disk at `path` and its parents. Takes the file's lock, also as QEMU understands it,
  /// and replays its log on it. Nothing else is changed before the first write.
  /// Errors: Errc::kInUse; those of Image::open().
  static Result<std::unique_ptr<DiskWriter>> open(const std::string& path, const Options& options);

  /// The same of files that are open: `parents` are the layers behind it, nearest first.
  static Result<std::unique_ptr<DiskWriter>> over(std::shared_ptr<File> file,
                                                  std::vector<std::unique_ptr<Layer>> parents,
                                                  const Options& options);

  /// Closes, if close() was not called; what goes wrong then, the next open's replay mends.
  ~DiskWriter();
  DiskWriter(const DiskWriter&) = delete;
  DiskWriter& operator=(const DiskWriter&) = delete;

  /// Units of all: bytes, multiples of the logical sector size, inside the disk.
  /// `reading`: of what the disk's own file holds.
  Result<void> read(std::uint64_t offset, std::span<std::byte> out,
                    Reading reading = Reading::kUsual);
  Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes);
  /// Makes the range read as zero. Whole blocks give their room back, unless the disk is fixed.
  Result<void> write_zeroes(std::uint64_t offset, std::uint64_t length);
  /// Says that the content of the range is of no more use: afterwards it reads as zero or as
  /// before. Whole blocks, and what can be punched out of others, give their room back; of a fixed
  /// disk nothing does.
  Result<void> trim(std::uint64_t offset, std::uint64_t length);
  /// What the disk holds, parents included, as DiskView::map() says it: never kParent. The extents
  /// name no file and no place, which change while the disk is in use: read() gives the bytes.
  /// Returns where the mapped range ends; neighbours of one kind are one extent.
  /// Errors also: BAT entries and bitmaps that break a rule, by name and offset.
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length, std::vector<Extent>& out,
                            std::size_t extents_max = 4096);
  /// Does now what the first write does otherwise: proves the tables, and says in the headers,
  /// durably, that the file is being written. Errors: those of writes.
  Result<void> begin_writing();
  /// Proves now what the first write proves otherwise, that no two objects of the file share a
  /// byte, and Layer::validate_bat() of its parents. Reads every BAT; changes nothing.
  Result<void> validate_bats();
  /// Makes all that was done before the call durable. Concurrent calls share the work.
  Result<void> flush();
  /// Flushes and leaves a file with an empty log. Afterwards every call fails with Errc::kClosed.
  /// The lock goes when the object is destroyed.
  Result<void> close();

  const Description& description() const { return leaf_->description(); }
  const Geometry& geometry() const { return leaf_->geometry(); }
  std::uint64_t virtual_size_bytes() const { return geometry().virtual_size_bytes; }
  const std::string& name() const { return leaf_->name(); }

  struct Counters {
    std::uint64_t allocated_blocks = 0;
    std::uint64_t freed_blocks = 0;
    MetadataJournal::Counters journal;
  };
  Counters counters() const;

 private:
  /// A range inside one block.
  struct Piece {
    std::uint64_t block = 0;
    std::uint64_t in_block = 0;  ///< Bytes.
    std::uint64_t length = 0;    ///< Bytes.
    bool whole = false;          ///< All of the block that lies inside the disk.
  };
  /// A payload block's entry as it is now.
  struct Entry {
    PayloadState state = PayloadState::kNotPresent;
    std::uint64_t file_offset = 0;  ///< Bytes; of the present states.
    std::uint64_t anchor = 0;       ///< Bytes; of absent ones: room that is kept for the block.

    bool present() const {
      return state == PayloadState::kFullyPresent || state == PayloadState::kPartiallyPresent;
    }
  };
  using Stripe = std::shared_mutex;
  class RunList;

  explicit DiskWriter(std::unique_ptr<Layer> leaf, std::unique_ptr<Image> parents);
  Result<void> prepare(const Options& options);

  Result<void> check_range(std::uint64_t offset, std::uint64_t length, const char* what) const;
  Result<void> take_stock();
  Result<void> count_stock();
  Result<void> take_owned();
  Result<void> take_kept();
  template <class Function>
  Result<void> for_each_piece(std::uint64_t offset, std::uint64_t length, Function function);
  Stripe& stripe_of(std::uint64_t block) { return stripes_[block % stripes_.size()]; }

  Result<Entry> entry_of(std::uint64_t block);
  Result<void> set_entry(std::uint64_t block, PayloadState state, std::uint64_t file_offset);

  Result<void> read_piece(const Piece& piece, std::span<std::byte> out, Reading reading);
  Result<void> read_partial(const Piece& piece, const Entry& entry, std::span<std::byte> out);
  Result<void> read_parent(std::uint64_t offset, std::span<std::byte> out);
  Result<std::uint64_t> map_piece(const Piece& piece, RunList& runs);
  Result<std::uint64_t> map_partial(const Piece& piece, RunList& runs);
  Result<std::uint64_t> map_parent(std::uint64_t begin, std::uint64_t end, RunList& runs);
  Result<void> write_piece(const Piece& piece, std::span<const std::byte> bytes);
  Result<bool> write_in_place(const Piece& piece, std::span<const std::byte> bytes);
  Result<void> zero_piece(const Piece& piece);
  Result<void> trim_piece(const Piece& piece);

  /// `bytes` empty: zeros.
  Result<void> write_new(const Piece& piece, const Entry& entry, std::span<const std::byte> bytes);
  Result<void> publish_partial(const Piece& piece, const Placement& place);
  Result<std::uint64_t> bitmap_block_of(std::uint64_t block);
  Result<void> set_present(const Piece& piece);
  Result<void> give_up(std::uint64_t block, PayloadState state, const Entry& entry);
  Result<void> zero_in_place(std::uint64_t file_offset, std::uint64_t length);

  std::uint64_t sectors(std::uint64_t bytes) const {
    return bytes / geometry().logical_sector_bytes;
  }
  bool is_fixed() const { return geometry().type == DiskType::kFixed; }
  bool has_parent() const { return geometry().type == DiskType::kDifferencing; }

  const std::unique_ptr<Layer> leaf_;
  const std::unique_ptr<Image> parents_;  ///< Null if there are none.
  std::unique_ptr<MetadataJournal> journal_;

  std::mutex begin_mutex_;
  // Protected by begin_mutex_.
  std::optional<Error> begin_error_;
  bool stock_taken_ = false;
  std::atomic<bool> writing_{false};
  std::atomic<bool> closed_{false};
  std::atomic<std::uint64_t> allocated_blocks_{0};
  std::atomic<std::uint64_t> freed_blocks_{0};

  /// Of each block: whether it is absent but has room kept for it (UNMAPPED with a FileOffsetMB,
  /// 2.5.1.1). Empty if no block has. Constant once writing_.
  std::vector<bool> has_anchor_;

  /// A block's place and state change only with its stripe locked for itself; what is read and
  /// written in place holds it shared.
  std::array<Stripe, 64> stripes_;
};

}  // namespace vhdxm::vhdx
