#include "vhdx/log_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <unordered_map>

#include "base/crc32c.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using LogSector = std::array<std::byte, kLogSectorBytes>;

constexpr std::uint64_t kFirstSectorDescriptors =
    (kLogSectorBytes - sizeof(RawLogEntryHeader)) / sizeof(RawLogDescriptor);
constexpr std::uint64_t kSectorDescriptors = kLogSectorBytes / sizeof(RawLogDescriptor);
static_assert(kFirstSectorDescriptors == 126 && kSectorDescriptors == 128);

/// Sectors that hold `count` descriptors. count < 2^32, so nothing wraps.
constexpr std::uint64_t descriptor_sectors(std::uint64_t count) {
  if (count <= kFirstSectorDescriptors) return 1;
  return 1 + (count - kFirstSectorDescriptors + kSectorDescriptors - 1) / kSectorDescriptors;
}

/// The ring as a sequence of sectors.
class LogRing {
 public:
  LogRing(File& file, const Header& header)
      : file_(file), begin_(header.log_offset), length_(header.log_length) {}

  std::uint64_t length() const { return length_; }

  /// Where in the file byte `log_offset` of the ring stands. Range: below 2 * length().
  std::uint64_t file_offset(std::uint64_t log_offset) const {
    return begin_ + (log_offset < length_ ? log_offset : log_offset - length_);
  }

  Result<void> read(std::uint64_t log_offset, LogSector& sector) const {
    return read_exact_at(file_, file_offset(log_offset), sector, "log sector, [MS-VHDX] 2.3");
  }

 private:
  File& file_;
  const std::uint64_t begin_;
  const std::uint64_t length_;
};

bool is_descriptor_valid(const RawLogDescriptor& raw, std::uint64_t sequence_number) {
  if (raw.sequence_number != sequence_number) return false;
  if (raw.file_offset % kLogSectorBytes != 0) return false;
  if (raw.signature == kZeroDescriptorSignature) {
    return raw.leading_bytes_or_length % kLogSectorBytes == 0;
  }
  return raw.signature == kDataDescriptorSignature;
}

bool is_data_sector_valid(const LogSector& sector, std::uint64_t sequence_number) {
  const auto raw = load_raw<RawLogDataSector>(sector.data());
  return raw.signature == kDataSectorSignature &&
         (std::uint64_t{raw.sequence_high} << 32 | raw.sequence_low) == sequence_number;
}

/// Proves entries whole, each place of the log at most once.
class EntryValidator {
 public:
  EntryValidator(const LogRing& ring, const Guid& log_guid)
      : ring_(ring),
        log_guid_(log_guid),
        sectors_left_(kWorkFactor * ring.length() / kLogSectorBytes) {}

  /// The entry that begins at `log_offset`, or nullopt if none that is valid does.
  Result<std::optional<LogEntry>> entry_at(std::uint64_t log_offset) {
    if (const auto known = known_.find(log_offset); known != known_.end()) return known->second;
    VHDXM_TRY(auto entry, validate(log_offset));
    // Most places hold no entry: only what had to be looked at closely is remembered.
    if (entry || looked_closely_) known_.emplace(log_offset, entry);
    return entry;
  }

 private:
  // A log that a program wrote is read once, and stale entries up to where they were overwritten.
  // Entries made to contain each other in their padding would be read as often as there are
  // entries.
  static constexpr std::uint64_t kWorkFactor = 8;

  Result<std::optional<LogEntry>> validate(std::uint64_t log_offset);
  bool is_header_valid(const RawLogEntryHeader& raw) const;

  const LogRing& ring_;
  const Guid log_guid_;
  std::uint64_t sectors_left_;
  bool looked_closely_ = false;
  std::unordered_map<std::uint64_t, std::optional<LogEntry>> known_;
};

bool EntryValidator::is_header_valid(const RawLogEntryHeader& raw) const {
  return raw.entry_length != 0 && raw.entry_length % kLogSectorBytes == 0 &&
         raw.entry_length <= ring_.length() && raw.tail % kLogSectorBytes == 0 &&
         raw.tail < ring_.length() && raw.sequence_number != 0 && raw.log_guid == log_guid_ &&
         descriptor_sectors(raw.descriptor_count) * kLogSectorBytes <= raw.entry_length;
}

Result<std::optional<LogEntry>> EntryValidator::validate(std::uint64_t log_offset) {
  looked_closely_ = false;
  LogSector sector;
  VHDXM_TRY_VOID(ring_.read(log_offset, sector));
  auto header = load_raw<RawLogEntryHeader>(sector.data());
  if (header.signature != kLogEntrySignature || !is_header_valid(header)) return {std::nullopt};
  looked_closely_ = true;

  const std::uint64_t sequence_number = header.sequence_number;
  const std::uint64_t descriptor_end = descriptor_sectors(header.descriptor_count);
  const std::uint64_t sector_count = header.entry_length / kLogSectorBytes;
  std::uint64_t descriptors_left = header.descriptor_count;
  std::uint64_t data_left = 0;

  const std::uint32_t checksum = header.checksum;
  header.checksum = 0;
  store_raw(sector.data(), header);
  std::uint32_t crc = 0;

  for (std::uint64_t i = 0; i < sector_count; ++i) {
    if (sectors_left_ == 0) {
      return format_error(Errc::kLogTooComplex, "log entries, [MS-VHDX] 2.3.1",
                          ring_.file_offset(log_offset));
    }
    --sectors_left_;
    if (i != 0) VHDXM_TRY_VOID(ring_.read(log_offset + i * kLogSectorBytes, sector));
    if (i < descriptor_end) {
      const std::size_t first = i == 0 ? sizeof(RawLogEntryHeader) : 0;
      for (std::size_t at = first; at < sector.size() && descriptors_left != 0;
           at += sizeof(RawLogDescriptor)) {
        const auto descriptor = load_raw<RawLogDescriptor>(sector.data() + at);
        if (!is_descriptor_valid(descriptor, sequence_number)) return {std::nullopt};
        if (descriptor.signature == kDataDescriptorSignature) ++data_left;
        --descriptors_left;
      }
      // Every data descriptor has its data sector (2.3.1).
      if (data_left > sector_count - descriptor_end) return {std::nullopt};
    } else if (data_left != 0) {
      if (!is_data_sector_valid(sector, sequence_number)) return {std::nullopt};
      --data_left;
    }
    crc = crc32c(sector, crc);
  }
  if (crc != checksum) return {std::nullopt};
  return {LogEntry{.log_offset = log_offset,
                   .length = header.entry_length,
                   .tail = header.tail,
                   .sequence_number = sequence_number,
                   .descriptor_count = header.descriptor_count,
                   .flushed_file_offset = header.flushed_file_offset,
                   .last_file_offset = header.last_file_offset}};
}

/// The scan of 2.3.3, which extends a run of entries from every place of the log.
///
/// Each entry has one successor, so runs form trees whose roots are heads. What the scan asks of a
/// run (its head, its length, whether it holds the head's tail) follows from what it says of the
/// successor's run, and is kept with the entry: the scan is linear in the entries.
class SequenceScan {
 public:
  SequenceScan(const LogRing& ring, EntryValidator& validator)
      : ring_(ring), validator_(validator) {}

  Result<ActiveSequence> find() {
    std::optional<LogEntry> tail_of_best;
    std::uint64_t best_sequence_number = 0;
    for (std::uint64_t at = 0; at < ring_.length();) {
      VHDXM_TRY(const Run* run, run_from(at));
      // A run longer than the ring overlaps itself; it cannot have been written.
      if (run == nullptr || !run->holds_tail || run->bytes > ring_.length()) {
        at += kLogSectorBytes;
        continue;
      }
      const LogEntry& head = runs_.at(run->head).entry;
      if (head.sequence_number > best_sequence_number) {
        best_sequence_number = head.sequence_number;
        tail_of_best = runs_.at(head.tail).entry;
      }
      // Beyond the end of the ring is what was scanned before.
      at += run->bytes;
    }
    if (!tail_of_best) {
      return format_error(Errc::kNoValidLogSequence, "log, [MS-VHDX] 2.3.3", ring_.file_offset(0));
    }
    ActiveSequence sequence;
    for (const Run* run = &runs_.at(tail_of_best->log_offset);; run = &runs_.at(*run->next)) {
      sequence.entries.push_back(run->entry);
      if (!run->next) return sequence;
    }
  }

 private:
  /// The run that begins with `entry`.
  struct Run {
    LogEntry entry;
    std::optional<std::uint64_t> next;  ///< Log offset of the following entry.
    std::uint64_t head = 0;             ///< Log offset of the run's last entry.
    std::uint64_t bytes = 0;            ///< Of all entries of the run.
    bool holds_tail = false;            ///< Whether the head's tail is one of the run's entries.
  };

  Result<const Run*> run_from(std::uint64_t log_offset) {
    // Down the run to its head, or to an entry that is known; then back up.
    std::vector<LogEntry> entries;
    const Run* after = nullptr;
    for (std::uint64_t at = log_offset;;) {
      if (const auto known = runs_.find(at); known != runs_.end()) {
        if (is_successor(entries, known->second.entry)) after = &known->second;
        break;
      }
      VHDXM_TRY(const std::optional<LogEntry> entry, validator_.entry_at(at));
      if (!entry || !is_successor(entries, *entry)) break;
      entries.push_back(*entry);
      at = (at + entry->length) % ring_.length();
    }
    if (entries.empty()) return after;
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
      Run run;
      run.entry = *entry;
      run.head = after == nullptr ? entry->log_offset : after->head;
      if (after != nullptr) run.next = after->entry.log_offset;
      run.bytes = entry->length + (after == nullptr ? 0 : after->bytes);
      const std::uint64_t tail = after == nullptr ? entry->tail : runs_.at(run.head).entry.tail;
      run.holds_tail = tail == entry->log_offset || (after != nullptr && after->holds_tail);
      after = &runs_.emplace(entry->log_offset, run).first->second;
    }
    return after;
  }

  static bool is_successor(const std::vector<LogEntry>& entries, const LogEntry& entry) {
    // Sequence numbers are never zero, so the wrap of 2^64 - 1 matches nothing.
    return entries.empty() || entry.sequence_number == entries.back().sequence_number + 1;
  }

  const LogRing& ring_;
  EntryValidator& validator_;
  std::unordered_map<std::uint64_t, Run> runs_;  ///< By log offset; pointers into it stay valid.
};

Error bad_target(const char* where, std::uint64_t descriptor_offset, std::uint64_t found) {
  return format_error(Errc::kBadLogTarget, where, descriptor_offset, found);
}

Result<void> validate_target(const Header& header, std::uint64_t offset, std::uint64_t length,
                             std::uint64_t descriptor_offset) {
  if (offset < kRegionTableOffsets[0]) {
    return bad_target("descriptor FileOffset lies in file identifier or headers, [MS-VHDX] 2.3",
                      descriptor_offset, offset);
  }
  if (offset > kFileBytesMax || length > kFileBytesMax - offset) {
    return bad_target("descriptor ends farther out than any VHDX file, [MS-VHDX] 2.3.1.2",
                      descriptor_offset, offset);
  }
  if (length != 0 && offset < header.log_end() && header.log_offset < offset + length) {
    return bad_target("descriptor FileOffset lies in the log itself, [MS-VHDX] 2.3",
                      descriptor_offset, offset);
  }
  return {};
}

}  // namespace

Result<ActiveSequence> find_active_sequence(File& file, const Header& header) {
  if (header.log_length > kLogBytesMax) {
    return format_error(Errc::kBadLogLocation,
                        "header LogLength exceeds what is replayed, 1 GiB, [MS-VHDX] 2.2.2",
                        Error::kNoOffset, header.log_length, kLogBytesMax);
  }
  VHDXM_TRY(const std::uint64_t file_bytes, file.size());
  if (header.log_end() > file_bytes) {
    return format_error(Errc::kBadLogLocation, "the log ends beyond the file, [MS-VHDX] 2.2.2",
                        header.log_offset, header.log_end(), file_bytes);
  }
  const LogRing ring(file, header);
  EntryValidator validator(ring, header.log_guid);
  VHDXM_TRY(ActiveSequence sequence, SequenceScan(ring, validator).find());
  const LogEntry& head = sequence.head();
  // The head's alone: an older entry may have been written before the file was shrunk.
  if (file_bytes < head.flushed_file_offset) {
    return format_error(Errc::kTruncated, "log entry FlushedFileOffset, [MS-VHDX] 2.3.3",
                        ring.file_offset(head.log_offset), file_bytes, head.flushed_file_offset);
  }
  if (head.last_file_offset > kFileBytesMax) {
    return bad_target("log entry LastFileOffset is larger than any VHDX file, [MS-VHDX] 2.3.1.1",
                      ring.file_offset(head.log_offset), head.last_file_offset);
  }
  return sequence;
}

Result<void> apply_entry(File& file, const Header& header, const LogEntry& entry,
                         OverlayFile& overlay) {
  const LogRing ring(file, header);
  LogSector descriptors;
  LogSector data;
  std::uint64_t next_data = descriptor_sectors(entry.descriptor_count);
  std::uint64_t left = entry.descriptor_count;
  for (std::uint64_t i = 0; left != 0; ++i) {
    const std::uint64_t sector_at = entry.log_offset + i * kLogSectorBytes;
    VHDXM_TRY_VOID(ring.read(sector_at, descriptors));
    for (std::size_t at = i == 0 ? sizeof(RawLogEntryHeader) : 0;
         at < descriptors.size() && left != 0; at += sizeof(RawLogDescriptor), --left) {
      const auto raw = load_raw<RawLogDescriptor>(descriptors.data() + at);
      const std::uint64_t raw_at = ring.file_offset(sector_at) + at;
      if (raw.signature == kZeroDescriptorSignature) {
        VHDXM_TRY_VOID(
            validate_target(header, raw.file_offset, raw.leading_bytes_or_length, raw_at));
        overlay.zero(raw.file_offset, raw.leading_bytes_or_length);
        continue;
      }
      VHDXM_TRY_VOID(validate_target(header, raw.file_offset, kLogSectorBytes, raw_at));
      // As validated, so inside the entry and below twice the ring's length.
      VHDXM_TRY_VOID(ring.read(entry.log_offset + next_data * kLogSectorBytes, data));
      ++next_data;
      store_raw(data.data(), raw.leading_bytes_or_length);
      store_raw(data.data() + data.size() - sizeof(Le32), raw.trailing_bytes);
      overlay.replace(raw.file_offset, data);
    }
  }
  return {};
}

}  // namespace vhdxm::vhdx
