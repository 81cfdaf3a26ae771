#include "vhdx/check_log.h"

#include <fmt/format.h>

#include <array>

#include "vhdx/log_reader.h"

namespace vhdxm::vhdx {

Result<void> check_log_entries(File& file, const Header& header, FindingList& findings) {
  VHDXM_TRY(const ActiveSequence sequence, find_active_sequence(file, header));
  for (const LogEntry& entry : sequence.entries) {
    const std::uint64_t at = header.log_offset + entry.log_offset;
    if (entry.flushed_file_offset % kObjectAlignment != 0) {
      findings.warning("2.3.1.1",
                       fmt::format("FlushedFileOffset of the log entry {} is {}, no multiple of 1 "
                                   "MiB",
                                   entry.sequence_number, entry.flushed_file_offset),
                       at + offsetof(RawLogEntryHeader, flushed_file_offset));
    }
    if (entry.last_file_offset % kObjectAlignment != 0) {
      findings.warning("2.3.1.1",
                       fmt::format("LastFileOffset of the log entry {} is {}, no multiple of 1 MiB",
                                   entry.sequence_number, entry.last_file_offset),
                       at + offsetof(RawLogEntryHeader, last_file_offset));
    }
    // An entry begins at a multiple of 4 KiB, so its header does not wrap around the log's end.
    std::array<std::byte, sizeof(RawLogEntryHeader)> bytes{};
    VHDXM_TRY_VOID(read_exact_at(file, at, bytes, "log entry, [MS-VHDX] 2.3.1.1"));
    if (load_raw<RawLogEntryHeader>(bytes.data()).reserved != 0) {
      findings.warning(
          "2.3.1.1",
          fmt::format("reserved bytes of the log entry {} are not zero", entry.sequence_number),
          at + offsetof(RawLogEntryHeader, reserved));
    }
  }
  return {};
}

}  // namespace vhdxm::vhdx
