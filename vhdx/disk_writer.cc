#include "vhdx/disk_writer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "vhdx/bat.h"
#include "vhdx/bitmap_bits.h"
#include "vhdx/errc.h"
#include "vhdx/sector_bitmap.h"

namespace vhdxm::vhdx {
namespace {

constexpr const char* kPayload = "payload block, [MS-VHDX] 2.4";
// Not constant, so that it stands in no file; aligned, so that it can bypass the page cache.
alignas(4096) constinit std::array<std::byte, kMiB> zeros{};

// Pages that the bits of one block lie in: the most, 2^19 sectors in a block of 256 MiB.
constexpr std::size_t bitmap_pages(std::uint64_t block_sectors) {
  return static_cast<std::size_t>(block_sectors / 8 / kLogSectorBytes + 1);
}

}  // namespace

DiskWriter::DiskWriter(std::unique_ptr<Layer> leaf, std::unique_ptr<Image> parents)
    : leaf_(std::move(leaf)), parents_(std::move(parents)) {}

Result<std::unique_ptr<DiskWriter>> DiskWriter::open(const std::string& path,
                                                     const Options& options) {
  VHDXM_TRY(
      std::shared_ptr<PosixFile> file,
      PosixFile::open(path, {.access = PosixFile::Access::kReadWrite, .direct = options.direct}));
  // Before the log is replayed: somebody else's log is in use.
  VHDXM_TRY(const bool locked, file->lock_for_writing());
  if (!locked) {
    return format_error(Errc::kInUse, "file locks").about(path);
  }
  VHDXM_TRY(auto layers,
            Image::open_layers(file, {.replay = Layer::Replay::kOnFile, .direct = options.direct}));
  std::vector<std::unique_ptr<Layer>> parents(std::make_move_iterator(layers.begin() + 1),
                                              std::make_move_iterator(layers.end()));
  std::unique_ptr<Image> chain;
  if (!parents.empty()) {
    VHDXM_TRY(chain, Image::from_layers(std::move(parents)));
  }
  auto disk =
      std::unique_ptr<DiskWriter>(new DiskWriter(std::move(layers.front()), std::move(chain)));
  VHDXM_TRY_VOID(disk->prepare(options));
  return disk;
}

Result<std::unique_ptr<DiskWriter>> DiskWriter::over(std::shared_ptr<File> file,
                                                     std::vector<std::unique_ptr<Layer>> parents,
                                                     const Options& options) {
  VHDXM_TRY(auto leaf, Layer::open(std::move(file), Layer::Replay::kOnFile));
  std::unique_ptr<Image> chain;
  if (!parents.empty()) {
    VHDXM_TRY(chain, Image::from_layers(std::move(parents)));
  }
  auto disk = std::unique_ptr<DiskWriter>(new DiskWriter(std::move(leaf), std::move(chain)));
  VHDXM_TRY_VOID(disk->prepare(options));
  return disk;
}

Result<void> DiskWriter::prepare(const Options& options) {
  if (has_parent() && !parents_) {
    return format_error(Errc::kParentNotFound, "a differencing disk is written with its parents")
        .about(name());
  }
  VHDXM_TRY(const std::uint64_t bytes, leaf_->file().size());
  // The replay left an empty log (Layer::open), whatever the header said before.
  journal_ = std::make_unique<MetadataJournal>(
      leaf_->file(), leaf_->header(), std::min(bytes, kFileBytesMax),
      MetadataJournal::Options{.pages_max = options.pages_max, .give_room_back = !is_fixed()});
  return {};
}

DiskWriter::~DiskWriter() {
  if (!closed_) (void)close().has_error();
}

Result<void> DiskWriter::check_range(std::uint64_t offset, std::uint64_t length,
                                     const char* what) const {
  if (closed_.load(std::memory_order_relaxed)) {
    return format_error(Errc::kClosed, what).about(name());
  }
  const std::uint64_t sector = geometry().logical_sector_bytes;
  const std::uint64_t size = virtual_size_bytes();
  if (offset % sector == 0 && length % sector == 0 && offset <= size && length <= size - offset) {
    return {};
  }
  return Error{.code = BaseErrc::kInvalidArgument,
               .where = what,
               .offset = offset,
               .found = length,
               .subject = name()};
}

template <class Function>
Result<void> DiskWriter::for_each_piece(std::uint64_t offset, std::uint64_t length,
                                        Function function) {
  const std::uint64_t block_bytes = geometry().block_bytes;
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t at = offset + done;
    Piece piece{.block = at / block_bytes, .in_block = at % block_bytes};
    piece.length = std::min(length - done, block_bytes - piece.in_block);
    piece.whole =
        piece.in_block == 0 &&
        piece.length == std::min(block_bytes, virtual_size_bytes() - piece.block * block_bytes);
    VHDXM_TRY_VOID(function(piece, static_cast<std::size_t>(done)));
    done += piece.length;
  }
  return {};
}

Result<void> DiskWriter::read(std::uint64_t offset, std::span<std::byte> out, Reading reading) {
  VHDXM_TRY_VOID(check_range(offset, out.size(), "a range to read"));
  return for_each_piece(offset, out.size(), [&](const Piece& piece, std::size_t done) {
    return read_piece(piece, out.subspan(done, static_cast<std::size_t>(piece.length)), reading);
  });
}

Result<void> DiskWriter::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  VHDXM_TRY_VOID(check_range(offset, bytes.size(), "a range to write"));
  VHDXM_TRY_VOID(begin_writing());
  return for_each_piece(offset, bytes.size(), [&](const Piece& piece, std::size_t done) {
    return write_piece(piece, bytes.subspan(done, static_cast<std::size_t>(piece.length)));
  });
}

Result<void> DiskWriter::write_zeroes(std::uint64_t offset, std::uint64_t length) {
  VHDXM_TRY_VOID(check_range(offset, length, "a range to zero"));
  VHDXM_TRY_VOID(begin_writing());
  return for_each_piece(offset, length,
                        [&](const Piece& piece, std::size_t) { return zero_piece(piece); });
}

Result<void> DiskWriter::trim(std::uint64_t offset, std::uint64_t length) {
  VHDXM_TRY_VOID(check_range(offset, length, "a range to trim"));
  if (is_fixed()) return {};
  VHDXM_TRY_VOID(begin_writing());
  return for_each_piece(offset, length,
                        [&](const Piece& piece, std::size_t) { return trim_piece(piece); });
}

Result<void> DiskWriter::flush() {
  VHDXM_TRY_VOID(check_range(0, 0, "flush"));
  // Nothing was written: there is nothing to make durable.
  if (!writing_.load(std::memory_order_acquire)) return journal_->kept_error();
  return journal_->commit();
}

Result<void> DiskWriter::close() {
  if (closed_.exchange(true)) return format_error(Errc::kClosed, "close").about(name());
  return journal_->close();
}

DiskWriter::Counters DiskWriter::counters() const {
  return {.allocated_blocks = allocated_blocks_.load(),
          .freed_blocks = freed_blocks_.load(),
          .journal = journal_->counters()};
}

// Once, before anything is changed: what of the file is whose, and headers that say it was written.
Result<void> DiskWriter::begin_writing() {
  if (writing_.load(std::memory_order_acquire)) return journal_->kept_error();
  const std::lock_guard lock(begin_mutex_);
  if (writing_.load(std::memory_order_relaxed)) return {};
  auto begun = take_stock();
  if (!begun.has_error()) begun = journal_->begin_session();
  if (begun.has_error()) {
    begin_error_ = std::move(begun).error().about(name());
    return *begin_error_;
  }
  leaf_->bat().note_file_bytes(kFileBytesMax);  // every place from here on is our own
  writing_.store(true, std::memory_order_release);
  return {};
}

// Once: a stock that was taken in part is good for nothing.
Result<void> DiskWriter::take_stock() {
  if (begin_error_) return *begin_error_;
  if (stock_taken_) return {};
  auto counted = count_stock();
  if (counted.has_error()) {
    begin_error_ = std::move(counted).error().about(name());
    return *begin_error_;
  }
  stock_taken_ = true;
  return {};
}

Result<void> DiskWriter::count_stock() {
  SpaceAllocator& space = journal_->space();
  const Header& header = leaf_->header();
  // validate_regions() proved that these do not overlap.
  if (header.log_length != 0) VHDXM_CHECK(space.take(header.log_offset, header.log_length));
  for (const Region& region : leaf_->regions().entries) {
    if (region.length != 0) VHDXM_CHECK(space.take(region.file_offset, region.length));
  }
  VHDXM_TRY_VOID(take_owned());
  return take_kept();
}

// Proves on the way that no two objects share a byte: in such a file a write to one block would
// change another.
Result<void> DiskWriter::take_owned() {
  const std::uint64_t ratio = geometry().chunk_ratio();
  Bat& bat = leaf_->bat();
  return bat.for_each_entry([&](std::uint64_t index, std::uint64_t raw) -> Result<void> {
    std::uint64_t offset = 0;
    std::uint64_t length = geometry().block_bytes;
    if (index % (ratio + 1) != ratio) {
      VHDXM_TRY(const PayloadEntry entry,
                bat.decode_payload(raw, index - index / (ratio + 1), index));
      offset = entry.file_offset;
    } else if (has_parent()) {
      VHDXM_TRY(const auto bitmap, bat.decode_sector_bitmap(raw, index));
      offset = bitmap.value_or(0);
      length = kSectorBitmapBlockBytes;
    }
    if (offset == 0 || journal_->space().take(offset, length)) return {};
    return format_error(Errc::kOverlap,
                        "it cannot be written: another object stands in the block's place "
                        "already, [MS-VHDX] 2.5.1",
                        bat.entry_offset(index), offset);
  });
}

// Room that absent blocks keep gives way to what blocks own; what is left of it is not handed out
// to others, or another program might take it up again for the first.
Result<void> DiskWriter::take_kept() {
  const std::uint64_t ratio = geometry().chunk_ratio();
  const std::uint64_t file_bytes = journal_->space().file_bytes();
  return leaf_->bat().for_each_entry([&](std::uint64_t index, std::uint64_t raw) -> Result<void> {
    const std::uint64_t state = bat_entry_state(raw);
    const bool absent = state == 1 || state == 3 || state == 5;
    if (index % (ratio + 1) == ratio || !absent) return {};
    const std::uint64_t offset = bat_entry_offset(raw);
    if (offset == 0 || offset >= file_bytes || geometry().block_bytes > file_bytes - offset) {
      return {};
    }
    if (!journal_->space().take(offset, geometry().block_bytes)) return {};
    has_anchor_.resize(static_cast<std::size_t>(geometry().block_count()));
    has_anchor_[static_cast<std::size_t>(index - index / (ratio + 1))] = true;
    return {};
  });
}

Result<DiskWriter::Entry> DiskWriter::entry_of(std::uint64_t block) {
  const Bat& bat = leaf_->bat();
  const std::uint64_t index = geometry().payload_bat_index(block);
  Le64 raw;
  VHDXM_TRY_VOID(read_exact_at(journal_->pages(), bat.entry_offset(index),
                               std::as_writable_bytes(std::span(&raw, 1)), "BAT, [MS-VHDX] 2.5"));
  auto decoded = bat.decode_payload(raw, block, index);
  if (decoded.has_error()) return std::move(decoded).error().about(name());
  Entry entry{.state = decoded->state, .file_offset = decoded->file_offset};
  // An absent entry has an offset only as it was found: set_entry() writes none.
  if (!has_anchor_.empty() && !entry.present() && has_anchor_[static_cast<std::size_t>(block)]) {
    entry.anchor = bat_entry_offset(raw);
  }
  return entry;
}

// Under the lock of begin_change(). ZERO and the other absent states carry no offset: Hyper-V
// refuses a ZERO block that has one.
Result<void> DiskWriter::set_entry(std::uint64_t block, PayloadState state,
                                   std::uint64_t file_offset) {
  const Le64 raw(file_offset | static_cast<std::uint64_t>(state));
  return journal_->pages().write_at(leaf_->bat().entry_offset(geometry().payload_bat_index(block)),
                                    std::as_bytes(std::span(&raw, 1)));
}

Result<void> DiskWriter::read_piece(const Piece& piece, std::span<std::byte> out, Reading reading) {
  const std::shared_lock lock(stripe_of(piece.block));
  VHDXM_TRY(const Entry entry, entry_of(piece.block));
  switch (entry.state) {
    case PayloadState::kFullyPresent:
      return read_exact_at(leaf_->file(), entry.file_offset + piece.in_block, out, kPayload,
                           reading);
    case PayloadState::kPartiallyPresent:
      return read_partial(piece, entry, out);
    case PayloadState::kNotPresent:
      if (has_parent()) {
        return read_parent(piece.block * geometry().block_bytes + piece.in_block, out);
      }
      break;
    default:  // ZERO, UNMAPPED and UNDEFINED hide the parent (2.5.1.1).
      break;
  }
  std::fill(out.begin(), out.end(), std::byte{0});
  return {};
}

Result<void> DiskWriter::read_partial(const Piece& piece, const Entry& entry,
                                      std::span<std::byte> out) {
  VHDXM_TRY(const std::uint64_t bitmap, bitmap_block_of(piece.block));
  const std::uint64_t sector_bytes = geometry().logical_sector_bytes;
  VHDXM_TRY(const SectorBits bits, SectorBits::read(journal_->pages(), bitmap,
                                                    first_sector_in_chunk(geometry(), piece.block) +
                                                        sectors(piece.in_block),
                                                    sectors(piece.length)));
  for (std::size_t sector = 0; sector < bits.sector_count();) {
    const std::size_t run_end = bits.run_end(sector);
    const std::uint64_t at = piece.in_block + sector * sector_bytes;
    const auto run = out.subspan(static_cast<std::size_t>(sector * sector_bytes),
                                 static_cast<std::size_t>((run_end - sector) * sector_bytes));
    if (bits.is_present(sector)) {
      VHDXM_TRY_VOID(read_exact_at(leaf_->file(), entry.file_offset + at, run, kPayload));
    } else {
      VHDXM_TRY_VOID(read_parent(piece.block * geometry().block_bytes + at, run));
    }
    sector = run_end;
  }
  return {};
}

Result<void> DiskWriter::read_parent(std::uint64_t offset, std::span<std::byte> out) {
  // A child may have been made larger than its parent: there is nothing behind it there.
  const std::uint64_t size = parents_->virtual_size_bytes();
  const auto inside = static_cast<std::size_t>(
      offset >= size ? 0 : std::min<std::uint64_t>(out.size(), size - offset));
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(inside), out.end(), std::byte{0});
  return inside == 0 ? Result<void>{} : parents_->read(offset, out.first(inside));
}

Result<void> DiskWriter::write_piece(const Piece& piece, std::span<const std::byte> bytes) {
  {
    const std::shared_lock lock(stripe_of(piece.block));
    VHDXM_TRY(const bool done, write_in_place(piece, bytes));
    if (done) return {};
  }
  const std::lock_guard lock(stripe_of(piece.block));
  VHDXM_TRY(const bool done, write_in_place(piece, bytes));
  if (done) return {};  // another thread gave the block its place meanwhile
  VHDXM_TRY(const Entry entry, entry_of(piece.block));
  return write_new(piece, entry, bytes);
}

/// False: the block has no place yet.
Result<bool> DiskWriter::write_in_place(const Piece& piece, std::span<const std::byte> bytes) {
  VHDXM_TRY(const Entry entry, entry_of(piece.block));
  if (!entry.present()) return false;
  VHDXM_TRY_VOID(leaf_->file().write_at(entry.file_offset + piece.in_block, bytes));
  // Sectors of a partial block that were the parent's: their content is there first, then the bit
  // that shows it, by the commit's order durably so.
  if (entry.state == PayloadState::kPartiallyPresent) VHDXM_TRY_VOID(set_present(piece));
  return true;
}

// NOT_PRESENT in a child: PARTIALLY_PRESENT, so that the parent shows around what was written.
// Everything else: FULLY_PRESENT with zeros around it, as it read before.
Result<void> DiskWriter::write_new(const Piece& piece, const Entry& entry,
                                   std::span<const std::byte> bytes) {
  Placement place{.offset = entry.anchor, .length = geometry().block_bytes, .zeroed = false};
  if (entry.anchor == 0) {
    VHDXM_TRY(place, journal_->space().allocate(geometry().block_bytes));
  }
  const bool partial = has_parent() && entry.state == PayloadState::kNotPresent && !piece.whole;
  const auto put = [&]() -> Result<void> {
    // What the last owner of the place left must not show; past the end of the disk neither, for a
    // disk that is made larger one day.
    const bool covered = bytes.size() == geometry().block_bytes;
    if (!place.zeroed && !covered) VHDXM_TRY_VOID(zero_in_place(place.offset, place.length));
    if (!bytes.empty()) {
      VHDXM_TRY_VOID(leaf_->file().write_at(place.offset + piece.in_block, bytes));
    }
    if (partial) return publish_partial(piece, place);
    VHDXM_TRY(const auto change, journal_->begin_change(1));
    return set_entry(piece.block, PayloadState::kFullyPresent, place.offset);
  };
  auto result = put();
  if (result.has_error()) {
    if (entry.anchor == 0) journal_->space().give_back(place);
    return result;
  }
  allocated_blocks_.fetch_add(1, std::memory_order_relaxed);
  return result;
}

Result<void> DiskWriter::publish_partial(const Piece& piece, const Placement& place) {
  const std::uint64_t block_sectors = sectors(geometry().block_bytes);
  const std::uint64_t first = first_sector_in_chunk(geometry(), piece.block);
  // The block's bits, its entry, and the entry of the bitmap block.
  VHDXM_TRY(const auto change, journal_->begin_change(bitmap_pages(block_sectors) + 2));
  MetadataPages& pages = journal_->pages();
  VHDXM_TRY(const std::uint64_t bitmap, bitmap_block_of(piece.block));
  // Bits left from an earlier life of the block would show what was never written (2.5.1.1).
  VHDXM_TRY_VOID(write_bits(pages, bitmap, first, block_sectors, false));
  VHDXM_TRY_VOID(
      write_bits(pages, bitmap, first + sectors(piece.in_block), sectors(piece.length), true));
  return set_entry(piece.block, PayloadState::kPartiallyPresent, place.offset);
}

/// Where the bitmap block of the block's chunk stands. Makes it, under the lock of begin_change(),
/// where there is none; a chunk with a partial block has one.
Result<std::uint64_t> DiskWriter::bitmap_block_of(std::uint64_t block) {
  const Bat& bat = leaf_->bat();
  const std::uint64_t index = geometry().bitmap_bat_index(block / geometry().chunk_ratio());
  Le64 raw;
  VHDXM_TRY_VOID(read_exact_at(journal_->pages(), bat.entry_offset(index),
                               std::as_writable_bytes(std::span(&raw, 1)), "BAT, [MS-VHDX] 2.5"));
  VHDXM_TRY(const auto bitmap, bat.decode_sector_bitmap(raw, index));
  if (bitmap) return *bitmap;
  VHDXM_TRY(const Entry entry, entry_of(block));
  if (entry.present()) {
    return format_error(Errc::kMissingSectorBitmap,
                        "PARTIALLY_PRESENT needs the chunk's sector bitmap, [MS-VHDX] 2.5.1.1",
                        bat.entry_offset(index))
        .about(name());
  }
  VHDXM_TRY(const Placement place, journal_->space().allocate(kSectorBitmapBlockBytes));
  // Nothing names it yet, so this needs no log; the commit flushes it before an entry does.
  if (!place.zeroed) VHDXM_TRY_VOID(zero_in_place(place.offset, place.length));
  raw = place.offset | static_cast<std::uint64_t>(SectorBitmapState::kPresent);
  VHDXM_TRY_VOID(
      journal_->pages().write_at(bat.entry_offset(index), std::as_bytes(std::span(&raw, 1))));
  return place.offset;
}

Result<void> DiskWriter::set_present(const Piece& piece) {
  const std::uint64_t first =
      first_sector_in_chunk(geometry(), piece.block) + sectors(piece.in_block);
  const std::uint64_t count = sectors(piece.length);
  VHDXM_TRY(const std::uint64_t bitmap, bitmap_block_of(piece.block));
  // Most overwrites find their bits set, and need no lock that others wait for.
  VHDXM_TRY(const bool all_set, all_bits_set(journal_->pages(), bitmap, first, count));
  if (all_set) return {};
  VHDXM_TRY(const auto change, journal_->begin_change(bitmap_pages(count) + 1));
  return write_bits(journal_->pages(), bitmap, first, count, true);
}

// A whole block becomes ZERO and gives its room back. ZERO hides the parent, and the bits of a
// partial block mean nothing any more: what is written next makes it FULLY_PRESENT.
Result<void> DiskWriter::zero_piece(const Piece& piece) {
  const std::lock_guard lock(stripe_of(piece.block));
  VHDXM_TRY(const Entry entry, entry_of(piece.block));
  if (entry.state == PayloadState::kZero) return {};
  if (piece.whole && !is_fixed()) {
    return give_up(piece.block, PayloadState::kZero, entry);
  }
  if (entry.present()) {
    VHDXM_TRY_VOID(zero_in_place(entry.file_offset + piece.in_block, piece.length));
    return entry.state == PayloadState::kPartiallyPresent ? set_present(piece) : Result<void>{};
  }
  // Reads as zero already, unless the parent shows.
  if (!has_parent() || entry.state != PayloadState::kNotPresent) return {};
  return write_new(piece, entry, {});
}

// A whole block becomes UNMAPPED, in a child too: NOT_PRESENT would bring the parent's content
// back. Sectors of a partial block that show the parent go on doing so, as before the trim.
Result<void> DiskWriter::trim_piece(const Piece& piece) {
  const std::lock_guard lock(stripe_of(piece.block));
  VHDXM_TRY(const Entry entry, entry_of(piece.block));
  const bool shows_parent = has_parent() && entry.state == PayloadState::kNotPresent;
  if (piece.whole && (entry.present() || shows_parent)) {
    return give_up(piece.block, PayloadState::kUnmapped, entry);
  }
  if (!entry.present()) return {};
  return leaf_->file().punch_hole(entry.file_offset + piece.in_block, piece.length);
}

Result<void> DiskWriter::give_up(std::uint64_t block, PayloadState state, const Entry& entry) {
  VHDXM_TRY(const auto change, journal_->begin_change(1));
  VHDXM_TRY_VOID(set_entry(block, state, 0));
  const std::uint64_t place = entry.present() ? entry.file_offset : entry.anchor;
  if (place == 0) return {};
  journal_->space().free_later(place, geometry().block_bytes);
  freed_blocks_.fetch_add(1, std::memory_order_relaxed);
  return {};
}

Result<void> DiskWriter::zero_in_place(std::uint64_t file_offset, std::uint64_t length) {
  if (!is_fixed()) return leaf_->file().punch_hole(file_offset, length);
  // A fixed disk keeps its room.
  for (std::uint64_t done = 0; done < length;) {
    const auto piece = std::min<std::uint64_t>(zeros.size(), length - done);
    VHDXM_TRY_VOID(leaf_->file().write_at(file_offset + done,
                                          std::span(zeros).first(static_cast<std::size_t>(piece))));
    done += piece;
  }
  return {};
}

}  // namespace vhdxm::vhdx
