// Makes changes of a file's metadata durable: headers once a session, BAT and sector bitmaps
// through the log, many changes to one log entry and two flushes.
//
// Spec: [MS-VHDX] 2.2.2.1, 2.3. A commit is
//   1. take the changed pages;
//   2. flush: payload that they expose is durable, and so is what the commit before wrote in place;
//   3. write one log entry with all of them, flush: from here on they are what a crash leaves;
//   4. write them in place; give free what they gave up.
// Steps 2 and 3 are the only flushes, however many blocks were allocated. Threads that ask for a
// commit while one is under way share the next.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "base/file.h"
#include "vhdx/header.h"
#include "vhdx/log_writer.h"
#include "vhdx/metadata_pages.h"
#include "vhdx/space_allocator.h"

namespace vhdxm::vhdx {

/// Errors of flushing and of writing metadata are sticky: after one, what the file holds is
/// unknown, every later call fails with it, and the log is left as it is for the next open to
/// replay. Thread safety: all members may be called from any thread, but close() when no other call
/// is.
class MetadataJournal {
 public:
  struct Counters {
    std::uint64_t commits = 0;  ///< With metadata in them.
    std::uint64_t flushes = 0;  ///< Of the file, those of headers not counted.
    std::uint64_t pages_logged = 0;
  };

  struct Options {
    std::size_t pages_max = 2048;  ///< Metadata pages kept in memory, of 4 KiB each.
    /// Free space goes back to the host's file system, and at the end off the file. Not where a
    /// disk is to keep its room (LeaveBlockAllocated, 2.6.2.1).
    bool give_room_back = true;
  };

  /// Requires: `header` is the file's current one, its log replayed; `file` outlives this.
  /// Memory: that of MetadataPages and SpaceAllocator.
  MetadataJournal(File& file, const Header& header, std::uint64_t file_bytes,
                  const Options& options);

  /// Before anything of the file is changed: new FileWriteGuid and, as what follows is visible to
  /// the disk's user, new DataWriteGuid, in both headers, durable (2.2.2.1). Then makes the file
  /// whole MiBs long.
  Result<void> begin_session();

  /// Metadata as it is now. To be changed only under the lock of begin_change().
  MetadataPages& pages() { return pages_; }
  SpaceAllocator& space() { return space_; }

  /// Room for a change of at most `pages_max` pages, to be made while the lock is held: a commit
  /// carries all of it or none. May commit first.
  /// Requires: pages_max <= LogWriter::kPagesMax.
  Result<std::unique_lock<std::mutex>> begin_change(std::size_t pages_max);

  /// Makes durable all that was written to the file and all changes made before the call.
  Result<void> commit();

  /// Commits, makes everything durable in place, clears the log in both headers, and cuts off what
  /// the file grew ahead.
  Result<void> close();

  Result<void> kept_error() const;
  const Header& header() const { return header_; }
  Counters counters() const;

 private:
  Result<void> keep(Result<void> result);
  Result<void> commit_now();
  Result<void> flush();
  Result<void> begin_log(std::uint64_t durable_bytes);
  Result<void> carry_through_log(std::span<const LogPageUpdate> updates,
                                 std::uint64_t durable_bytes);
  Result<void> finish();

  File& file_;
  const Options options_;
  Header header_;  ///< Changed by begin_session(), and under commit_mutex_.
  MetadataPages pages_;
  SpaceAllocator space_;
  bool in_session_ = false;

  std::mutex change_mutex_;  ///< Held while metadata pages change, and while they are taken.

  std::mutex commit_mutex_;
  // Protected by commit_mutex_, to be locked before change_mutex_.
  std::optional<LogWriter> log_;
  std::uint64_t completed_ = 0;            ///< The number of the last commit that ended well.
  std::atomic<std::uint64_t> started_{0};  ///< The number of the last commit that began.

  std::atomic<std::uint64_t> commits_{0};
  std::atomic<std::uint64_t> flushes_{0};
  std::atomic<std::uint64_t> pages_logged_{0};

  std::atomic<bool> failed_{false};
  mutable std::mutex error_mutex_;
  std::optional<Error> error_;  ///< Protected by error_mutex_.
};

}  // namespace vhdxm::vhdx
