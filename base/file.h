// A file as the engine sees it: bytes at offsets, made durable on request.
//
// Forms: PosixFile (a real one), MemoryFile (tests, replayed logs) and, in the tests,
// CrashFile, which records every write and flush and can show the file after a power loss.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace vhdxm {

/// Thread safety: every member may be called from any thread; overlapping writes race.
class File {
 public:
  virtual ~File() = default;

  /// Reads up to `out.size()` bytes at `offset`; fewer only where the file ends.
  /// Errors: the system's.
  virtual Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) = 0;

  /// The same for what is read once, such as a disk that is copied: what the host's cache does not
  /// have does not stay there, and what it has is not driven out. Here: as read_some_at().
  virtual Result<std::size_t> read_passing_at(std::uint64_t offset, std::span<std::byte> out) {
    return read_some_at(offset, out);
  }

  /// Writes all of `bytes` at `offset`, growing the file as needed. Not durable before sync().
  virtual Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) = 0;

  /// Makes everything written before the call durable, the size included.
  /// After a failure the file's content is unknown: the caller must give the file up.
  virtual Result<void> sync() = 0;

  /// Units: bytes.
  virtual Result<std::uint64_t> size() = 0;

  /// Grows (with zeros) or cuts the file.
  virtual Result<void> resize(std::uint64_t size_bytes) = 0;

  /// Reserves room for [offset, offset + length) and grows the file to hold it; the bytes read as
  /// zero. Where the file system cannot reserve, only grows. Errors: ENOSPC before any data is
  /// lost.
  virtual Result<void> allocate(std::uint64_t offset, std::uint64_t length) = 0;

  /// Makes [offset, offset + length) read as zero, giving the room back where that is possible.
  virtual Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) = 0;

  /// Lets [offset, offset + length) be the bytes of `source` from `source_offset` on: the file
  /// system's blocks are shared until one of both is written. False: not possible between these
  /// files, or not for this range; what the range holds is then unknown. Here: never possible.
  virtual Result<bool> share_from(File& source, std::uint64_t source_offset, std::uint64_t offset,
                                  std::uint64_t length);

  /// The first run at or after `offset` that may hold data; empty (begin == end == file size) when
  /// only a hole follows. A file system that knows no holes answers [offset, size).
  struct DataRun {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  virtual Result<DataRun> next_data(std::uint64_t offset) = 0;

  /// What a person calls this file: its path.
  virtual const std::string& name() const = 0;
};

enum class Reading : std::uint8_t {
  kUsual,
  kPassing,  ///< File::read_passing_at().
};
/// Reads exactly `out.size()` bytes. Errors: BaseErrc::kShortRead at `offset`, named `where`.
Result<void> read_exact_at(File& file, std::uint64_t offset, std::span<std::byte> out,
                           const char* where, Reading reading = Reading::kUsual);

}  // namespace vhdxm
