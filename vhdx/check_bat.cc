#include "vhdx/check_bat.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/hash128.h"
#include "vhdx/bat.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::size_t kCheckedEntries = 8192;

/// Something that may be said once for many entries.
struct Tally {
  std::uint64_t count = 0;
  std::uint64_t first_offset = 0;

  void add(std::uint64_t offset) {
    if (count++ == 0) first_offset = offset;
  }
};

/// An entry and what it is about.
struct Entry {
  std::uint64_t index = 0;
  std::uint64_t raw = 0;
  std::uint64_t at = 0;  ///< Bytes of the file: where the entry stands.
  bool is_bitmap = false;
  std::uint64_t number = 0;  ///< Of the payload block, or of the chunk.

  std::uint64_t state() const { return bat_entry_state(raw); }
  std::uint64_t place() const { return bat_entry_offset(raw); }
  std::string name() const {
    return fmt::format("{} {}", is_bitmap ? "the sector bitmap block of chunk" : "payload block",
                       number);
  }
};

class BatCheck {
 public:
  BatCheck(File& file, const Region& region, const Geometry& geometry, SpaceMap& space,
           FindingList& findings, std::uint64_t file_bytes)
      : file_(file),
        region_(region),
        geometry_(geometry),
        space_(space),
        findings_(findings),
        file_bytes_(file_bytes),
        block_count_(geometry.block_count()),
        chunk_ratio_(geometry.chunk_ratio()),
        is_child_(geometry.type == DiskType::kDifferencing) {}

  Result<void> run() {
    entry_count_ = entries_to_read();
    VHDXM_TRY_VOID(for_each_entry([this](const Entry& entry) { return check_entry(entry); }));
    if (anchors_.count != 0) {
      VHDXM_TRY_VOID(for_each_entry([this](const Entry& entry) { return check_anchor(entry); }));
    }
    VHDXM_TRY_VOID(report_shared_places());
    if (is_child_) VHDXM_TRY_VOID(check_bits_of_absent_blocks());
    VHDXM_TRY_VOID(check_bits_past_the_end());
    check_full_allocation();
    report_tallies();
    return {};
  }

 private:
  struct SharedPlace {
    Entry second;
    std::uint64_t offset;  ///< The first byte of the file that both have.
    std::string first;
  };

  std::uint64_t entries_to_read() {
    const std::uint64_t needed = geometry_.bat_entry_count();
    std::uint64_t available = region_.length / kBatEntryBytes;
    if (available < needed) {
      findings_.corrupt("2.5",
                        fmt::format("the BAT region has room for {} entries, the disk needs {}",
                                    available, needed),
                        region_.file_offset);
    }
    const std::uint64_t in_file = file_bytes_ > region_.file_offset
                                      ? (file_bytes_ - region_.file_offset) / kBatEntryBytes
                                      : 0;
    if (in_file < std::min(available, needed)) {
      findings_.corrupt(
          "2.5",
          fmt::format("the file ends inside the BAT: {} of {} entries are there", in_file, needed),
          region_.file_offset);
    }
    return std::min({needed, available, in_file});
  }

  template <class Visit>
  Result<void> for_each_entry(Visit visit) {
    std::vector<Le64> piece(kCheckedEntries);
    for (std::uint64_t first = 0; first < entry_count_; first += kCheckedEntries) {
      const std::uint64_t count = std::min<std::uint64_t>(kCheckedEntries, entry_count_ - first);
      const std::uint64_t at = region_.file_offset + first * kBatEntryBytes;
      const auto entries = std::span(piece).first(static_cast<std::size_t>(count));
      const auto bytes = std::as_writable_bytes(entries);
      VHDXM_TRY_VOID(read_exact_at(file_, at, bytes, "BAT, [MS-VHDX] 2.5"));
      // Most of a large BAT is zeros, about which there is nothing to say but in children.
      if (!is_child_ && geometry_.type != DiskType::kFixed && all_zero(bytes)) continue;
      for (std::uint64_t i = 0; i < count; ++i) {
        VHDXM_TRY_VOID(visit(entry_of(first + i, entries[static_cast<std::size_t>(i)])));
      }
    }
    return {};
  }

  Entry entry_of(std::uint64_t index, std::uint64_t raw) const {
    const std::uint64_t chunk = index / (chunk_ratio_ + 1);
    const std::uint64_t in_chunk = index % (chunk_ratio_ + 1);
    const bool is_bitmap = in_chunk == chunk_ratio_;
    return {.index = index,
            .raw = raw,
            .at = region_.file_offset + index * kBatEntryBytes,
            .is_bitmap = is_bitmap,
            .number = is_bitmap ? chunk : chunk * chunk_ratio_ + in_chunk};
  }

  bool past_the_end(const Entry& entry) const {
    return !entry.is_bitmap && entry.number >= block_count_;
  }
  bool is_present(const Entry& entry) const {
    return entry.state() == 6 || (entry.state() == 7 && !entry.is_bitmap);
  }
  /// UNDEFINED and UNMAPPED blocks may keep a place of their own.
  bool is_anchor(const Entry& entry) const {
    return !entry.is_bitmap && entry.place() != 0 &&
           (entry.state() == 1 || entry.state() == 3 || entry.state() == 5);
  }
  std::uint64_t length(const Entry& entry) const {
    return entry.is_bitmap ? kSectorBitmapBlockBytes : geometry_.block_bytes;
  }

  Result<void> check_entry(const Entry& entry) {
    if (past_the_end(entry)) {
      if (entry.raw != 0) past_the_end_.add(entry.at);
      return {};
    }
    if (bat_entry_reserved(entry.raw) != 0) {
      if (is_present(entry)) {
        findings_.corrupt("2.5.1", "reserved bits of the BAT entry of " + entry.name() + " are set",
                          entry.at);
        return {};
      }
      reserved_bits_.add(entry.at);
    }
    if (entry.is_bitmap) {
      check_bitmap_entry(entry);
    } else {
      check_payload_entry(entry);
    }
    return {};
  }

  void check_payload_entry(const Entry& entry) {
    switch (entry.state()) {
      case 0:
        if (entry.place() != 0) place_of_absent_.add(entry.at);
        break;
      case 2:
        if (entry.place() != 0) place_of_zero_.add(entry.at);
        break;
      case 1:
      case 3:
        break;
      case 4:
        findings_.corrupt("2.5.1.1", entry.name() + " has the state 4, which is reserved",
                          entry.at);
        return;
      case 5:
        old_unmapped_.add(entry.at);
        break;
      case 7:
        if (!is_child_) {
          findings_.corrupt("2.5.1.1",
                            entry.name() + " is PARTIALLY_PRESENT in a disk without a parent",
                            entry.at);
          return;
        }
        if (!first_partial_) first_partial_ = entry;
        take_place(entry);
        return;
      default:
        take_place(entry);
        return;
    }
    absent_.add(entry.at);
    if (is_anchor(entry)) anchors_.add(entry.at);
  }

  void check_bitmap_entry(const Entry& entry) {
    const std::optional<Entry> partial = first_partial_;
    first_partial_.reset();
    if (!is_child_) {
      if (entry.state() != 0) bitmap_without_parent_.add(entry.at);
      return;
    }
    if (entry.state() == 6) {
      take_place(entry);
      return;
    }
    if (entry.state() != 0) {
      findings_.corrupt(
          "2.5.1.2",
          fmt::format("{} has the state {}, which is reserved", entry.name(), entry.state()),
          entry.at);
    } else if (partial) {
      findings_.corrupt("2.5.1.2",
                        fmt::format("{} is PARTIALLY_PRESENT, but chunk {} has no sector bitmap",
                                    partial->name(), entry.number),
                        partial->at);
    }
  }

  void take_place(const Entry& entry) {
    const std::uint64_t begin = entry.place();
    // The offset is below 2^64 - 2^20; adding a block could wrap, so it is compared by subtraction.
    std::uint64_t in_disk = length(entry);
    if (!entry.is_bitmap) {
      in_disk =
          std::min(in_disk, geometry_.virtual_size_bytes - entry.number * geometry_.block_bytes);
    }
    if (begin > file_bytes_ || in_disk > file_bytes_ - begin) {
      findings_.corrupt("2.5.1",
                        fmt::format("{} stands at {} with {} bytes, beyond the end of the file, {}",
                                    entry.name(), begin, in_disk, file_bytes_),
                        entry.at);
      return;
    }
    if (length(entry) > file_bytes_ - begin) cut_.add(entry.at);
    const auto taken = space_.take(begin, length(entry));
    if (!taken) return;
    if (shared_.size() < kFindingsMax) {
      shared_.push_back({entry, *taken, space_.name_at(*taken).value_or("")});
    } else {
      findings_.corrupt("2.5.1", entry.name() + " shares its place with another object", entry.at);
    }
  }

  Result<void> check_anchor(const Entry& entry) {
    if (past_the_end(entry) || !is_anchor(entry)) return {};
    const std::uint64_t begin = entry.place();
    if (begin > file_bytes_ || length(entry) > file_bytes_ - begin) {
      findings_.warning("2.5.1",
                        fmt::format("{} is absent and keeps a place at {}, beyond the end of the "
                                    "file",
                                    entry.name(), begin),
                        entry.at);
    } else if (const auto taken = space_.first_taken(begin, length(entry))) {
      findings_.warning("2.5.1",
                        fmt::format("{} is absent and keeps a place at {}, which another object "
                                    "has",
                                    entry.name(), begin),
                        entry.at);
    } else {
      (void)space_.take(begin, length(entry));
    }
    return {};
  }

  /// Finds out whose the shared places were first, and says so.
  Result<void> report_shared_places() {
    std::multimap<std::uint64_t, SharedPlace*> unnamed;
    for (SharedPlace& shared : shared_) {
      if (shared.first.empty()) unnamed.emplace(shared.offset, &shared);
    }
    // In order of the entries, so each place meets its first owner first, and is looked at once.
    if (!unnamed.empty()) {
      VHDXM_TRY_VOID(for_each_entry([&](const Entry& entry) -> Result<void> {
        if (past_the_end(entry) || !is_present(entry)) return {};
        for (auto at = unnamed.lower_bound(entry.place());
             at != unnamed.end() && at->first - entry.place() < length(entry);) {
          at->second->first = entry.name();
          at = unnamed.erase(at);
        }
        return {};
      }));
    }
    for (const SharedPlace& shared : shared_) {
      findings_.corrupt("2.5.1",
                        fmt::format("{} at {} shares the byte {} with {}", shared.second.name(),
                                    shared.second.place(), shared.offset, shared.first),
                        shared.second.at);
    }
    return {};
  }

  /// Bits say nothing while a block is NOT_PRESENT; left behind, they would count again when it
  /// becomes PARTIALLY_PRESENT.
  Result<void> check_bits_of_absent_blocks() {
    std::vector<Le64> entries(static_cast<std::size_t>(chunk_ratio_ + 1));
    std::vector<std::byte> bits(kSectorBitmapBlockBytes);
    for (std::uint64_t chunk = 0; (chunk + 1) * entries.size() <= entry_count_; ++chunk) {
      const std::uint64_t at = region_.file_offset + chunk * entries.size() * kBatEntryBytes;
      VHDXM_TRY_VOID(read_exact_at(file_, at, std::as_writable_bytes(std::span(entries)),
                                   "BAT, [MS-VHDX] 2.5"));
      const std::uint64_t begin = bat_entry_offset(entries.back());
      if (bat_entry_state(entries.back()) != 6 || begin > file_bytes_ ||
          kSectorBitmapBlockBytes > file_bytes_ - begin) {
        continue;
      }
      VHDXM_TRY_VOID(read_exact_at(file_, begin, bits, "sector bitmap block, [MS-VHDX] 2.4"));
      for (std::uint64_t i = 0; i < chunk_ratio_; ++i) {
        const std::uint64_t block = chunk * chunk_ratio_ + i;
        if (block >= block_count_ || bat_entry_state(entries[static_cast<std::size_t>(i)]) != 0) {
          continue;
        }
        // Of the last block, whole bytes of what is part of the disk: Windows sets bits behind it.
        const std::uint64_t bytes_of_block =
            std::min<std::uint64_t>(geometry_.block_bytes,
                                    geometry_.virtual_size_bytes - block * geometry_.block_bytes) /
            geometry_.logical_sector_bytes / 8;
        const std::uint64_t first =
            i * (geometry_.block_bytes / geometry_.logical_sector_bytes / 8);
        if (!all_zero(std::span(bits).subspan(static_cast<std::size_t>(first),
                                              static_cast<std::size_t>(bytes_of_block)))) {
          stale_bits_.add(begin + first);
        }
      }
    }
    return {};
  }

  /// A file with LeaveBlockAllocated has room for every block (2.6.2.1).
  void check_full_allocation() {
    if (geometry_.type != DiskType::kFixed || block_count_ == 0) return;
    // The last block may be cut where the disk ends.
    if (file_bytes_ >= geometry_.virtual_size_bytes) return;
    findings_.note("2.6.2.1",
                   fmt::format("the file has {} bytes, too few for all {} of a fixed disk",
                               file_bytes_, geometry_.virtual_size_bytes));
  }

  /// Bits of the last chunk's bitmap that no sector of the disk has.
  Result<void> check_bits_past_the_end() {
    const std::uint64_t sectors = geometry_.virtual_size_bytes / geometry_.logical_sector_bytes;
    const std::uint64_t used_bits = sectors % kSectorsPerBitmapBlock;
    if (!is_child_ || used_bits == 0 || entry_count_ < geometry_.bat_entry_count()) return {};
    const std::uint64_t index = geometry_.bitmap_bat_index(geometry_.chunk_count() - 1);
    Le64 raw;
    const std::uint64_t at = region_.file_offset + index * kBatEntryBytes;
    VHDXM_TRY_VOID(
        read_exact_at(file_, at, std::as_writable_bytes(std::span(&raw, 1)), "BAT, [MS-VHDX] 2.5"));
    const std::uint64_t begin = bat_entry_offset(raw);
    if (bat_entry_state(raw) != 6 || begin > file_bytes_ ||
        kSectorBitmapBlockBytes > file_bytes_ - begin) {
      return {};
    }
    std::vector<std::byte> bytes(kSectorBitmapBlockBytes - used_bits / 8);
    VHDXM_TRY_VOID(
        read_exact_at(file_, begin + used_bits / 8, bytes, "sector bitmap block, [MS-VHDX] 2.4"));
    bytes[0] &= static_cast<std::byte>(0xffU << (used_bits % 8));
    if (!all_zero(bytes)) {
      findings_.note("2.4",
                     "bits past the end of the disk are set in its last sector bitmap (Windows "
                     "sets them)",
                     begin + used_bits / 8);
    }
    return {};
  }

  void report_tallies() {
    const auto say = [&](Finding::Severity severity, const Tally& tally, const char* rule,
                         const std::string& what) {
      if (tally.count == 0) return;
      findings_.add(severity, rule, fmt::format("{}: {}, the first here", what, tally.count),
                    tally.first_offset);
    };
    using enum Finding::Severity;
    say(kWarning, reserved_bits_, "2.5.1", "entries of absent blocks that have reserved bits set");
    say(kWarning, bitmap_without_parent_, "2.5.1.2",
        "sector bitmap entries that are not NOT_PRESENT in a disk without a parent");
    say(kWarning, place_of_zero_, "2.5.1.1",
        "ZERO blocks with a FileOffsetMB, which Hyper-V refuses");
    say(kNote, place_of_absent_, "2.5.1.1", "NOT_PRESENT blocks with a FileOffsetMB");
    say(kNote, old_unmapped_, "2.5.1.1",
        "blocks of state 5, UNMAPPED in a draft of the format and reserved since");
    say(kNote, past_the_end_, "2.5", "entries past the last block of the disk that are not zero");
    say(kNote, cut_, "2.5.1",
        "blocks whose part behind the end of the disk lies beyond the end of the file (QEMU writes "
        "fixed disks so)");
    say(kNote, anchors_, "2.5.1.1", "absent blocks that keep their place in the file");
    say(kNote, stale_bits_, "2.4",
        "NOT_PRESENT blocks whose bits in the sector bitmap are not zero");
    if (geometry_.type == DiskType::kFixed) {
      say(kNote, absent_, "2.5.1.1", "blocks of a fixed disk that have no place in the file");
    }
  }

  File& file_;
  const Region& region_;
  const Geometry& geometry_;
  SpaceMap& space_;
  FindingList& findings_;
  const std::uint64_t file_bytes_;
  const std::uint64_t block_count_;
  const std::uint64_t chunk_ratio_;
  const bool is_child_;
  std::uint64_t entry_count_ = 0;
  std::optional<Entry> first_partial_;  ///< Of the chunk whose entries are being read.
  std::vector<SharedPlace> shared_;
  Tally reserved_bits_;
  Tally bitmap_without_parent_;
  Tally place_of_zero_;
  Tally place_of_absent_;
  Tally old_unmapped_;
  Tally past_the_end_;
  Tally cut_;
  Tally anchors_;
  Tally stale_bits_;
  Tally absent_;
};

}  // namespace

Result<void> check_bat(File& file, const Region& region, const Geometry& geometry, SpaceMap& space,
                       FindingList& findings) {
  VHDXM_TRY(const std::uint64_t file_bytes, file.size());
  return BatCheck(file, region, geometry, space, findings, std::min(file_bytes, kFileBytesMax))
      .run();
}

}  // namespace vhdxm::vhdx
