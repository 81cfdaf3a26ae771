// The log: finds the sequence of entries that must be replayed.
//
// Spec: [MS-VHDX] 2.3. A ring of entries, each of descriptor sectors and data sectors of 4 KiB. The
// head entry of a sequence says where its tail is: the oldest entry not yet applied. What lies
// before the tail has been applied and must not be applied again.
#pragma once

#include <cstdint>
#include <vector>

#include "base/file.h"
#include "vhdx/format.h"
#include "vhdx/header.h"
#include "vhdx/overlay_file.h"

namespace vhdxm::vhdx {

/// The largest log that is examined. The format allows 4 GiB; every known producer writes 1 MiB.
inline constexpr std::uint64_t kLogBytesMax = kGiB;

/// An entry that has been proved whole: signature, lengths, descriptors, sequence numbers,
/// checksum.
struct LogEntry {
  std::uint64_t log_offset = 0;  ///< Bytes from the start of the log.
  std::uint32_t length = 0;      ///< Bytes; the entry may wrap around the end of the log.
  std::uint32_t tail = 0;        ///< Bytes from the start of the log.
  std::uint64_t sequence_number = 0;
  std::uint32_t descriptor_count = 0;
  std::uint64_t flushed_file_offset = 0;  ///< Bytes.
  std::uint64_t last_file_offset = 0;     ///< Bytes.
};

/// Never empty; in order from the tail to the head.
struct ActiveSequence {
  std::vector<LogEntry> entries;
  const LogEntry& head() const { return entries.back(); }
};

/// Scans the log that `header` names by the rules of 2.3.3 and returns the active sequence.
///
/// Requires: a validated header whose log_guid is not zero.
/// Cost: reads the log about once. Memory: by what valid entries there are, not by LogLength.
/// Errors: Errc::kBadLogLocation (too large, or outside the file), kNoValidLogSequence, kTruncated,
/// kLogTooComplex.
Result<ActiveSequence> find_active_sequence(File& file, const Header& header);

/// Lays what `entry` writes over `overlay`. Reads the entry again.
/// Errors: Errc::kBadLogTarget for a place below 192 KiB, in the log, or beyond kFileBytesMax.
Result<void> apply_entry(File& file, const Header& header, const LogEntry& entry,
                         OverlayFile& overlay);

}  // namespace vhdxm::vhdx
