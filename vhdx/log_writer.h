// Writes entries to the log of a file that is open for writing.
//
// Spec: [MS-VHDX] 2.3. Every change of the BAT and of sector bitmaps goes through the log: the
// entry is made durable, then its pages are written in place; a crash in between is mended by the
// replay.
//
// Entries written here are each an active sequence of their own: Tail names the entry itself. That
// holds because a caller makes what the entry before it changed durable in place first, with the
// flush that it needs anyway (disk_writer.cc). The entry before must nevertheless stay whole until
// the new one is durable, or a torn write would leave no valid sequence: so an entry takes less
// than half of the log.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/file.h"
#include "base/guid.h"
#include "vhdx/format.h"

namespace vhdxm::vhdx {

/// 4 KiB of a file, at a multiple of that: what one data descriptor of the log carries.
using LogPage = std::array<std::byte, kLogSectorBytes>;

struct LogPageUpdate {
  std::uint64_t file_offset = 0;  ///< Bytes, a multiple of 4 KiB.
  LogPage bytes;
};

/// Thread safety: none.
class LogWriter {
 public:
  /// The most pages of one entry: with the one sector of descriptors that they need, two entries of
  /// this size and a free sector fit the smallest log, 1 MiB.
  static constexpr std::size_t kPagesMax = 126;

  /// What replay does to the file's size. Units: bytes.
  struct FileSizes {
    std::uint64_t durable = 0;  ///< Of the file on disk; FlushedFileOffset, rounded down to 1 MiB.
    std::uint64_t needed = 0;   ///< All objects fit in it; LastFileOffset, a multiple of 1 MiB.
  };

  /// Requires: a log of at least 1 MiB that lies inside the file; `log_guid` new and not zero, so
  /// that nothing that stands in the log belongs to it.
  LogWriter(File& file, std::uint64_t log_offset, std::uint32_t log_length, const Guid& log_guid);

  /// Writes one entry behind the last; it counts once the file is synced.
  /// `updates` may be empty: the entry that makes a log valid before a header names it.
  /// Requires: updates.size() <= kPagesMax; what earlier entries changed is durable in place.
  Result<void> append(std::span<const LogPageUpdate> updates, const FileSizes& sizes);

  const Guid& log_guid() const { return log_guid_; }

 private:
  File& file_;
  const std::uint64_t log_offset_;
  const std::uint64_t log_length_;
  const Guid log_guid_;
  std::uint64_t next_ = 0;             ///< Bytes from the start of the log.
  std::uint64_t sequence_number_ = 1;  ///< Of the next entry; never zero (2.3.1.1).
};

}  // namespace vhdxm::vhdx
