// A file of the host's file system.
//
// Payload may bypass the page cache (O_DIRECT), or be written out as soon as it is there: what is
// left to the kernel's own writeback sinks to a quarter of the device's rate once that starts. What
// is not aligned goes through the cache.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "base/cached_pieces.h"
#include "base/file.h"

namespace vhdxm {

class PosixFile final : public File {
 public:
  enum class Access { kReadOnly, kReadWrite };
  struct Options {
    Access access = Access::kReadOnly;
    /// Reads and writes that are aligned to 4 KiB in offset, length and memory use O_DIRECT, where
    /// the file system takes it.
    bool direct = false;
    /// With `direct`: such reads take from the page cache what it has, and the rest from the
    /// device, past the cache. For what is read once, and may or may not have been used lately.
    bool prefer_cached = false;
  };

  /// Opens an existing regular file (or block device). Does not create.
  /// Errors: the system's; BaseErrc::kInvalidArgument for a folder, socket or pipe.
  static Result<std::unique_ptr<PosixFile>> open(const std::string& path, Options options);

  /// Takes over open descriptors. `direct_fd` is -1 or a second descriptor with O_DIRECT.
  PosixFile(std::string path, int fd, int direct_fd, bool prefer_cached = false);
  ~PosixFile() override;
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override;
  /// Through the page cache all the same: direct reads would make whoever writes to the file wait
  /// (ext4 holds the inode's lock for them). Pieces of 64 KiB of which nothing was cached are
  /// dropped from it again; what was written meanwhile stays.
  Result<std::size_t> read_passing_at(std::uint64_t offset, std::span<std::byte> out) override;
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> sync() override;
  Result<std::uint64_t> size() override;
  Result<void> resize(std::uint64_t size_bytes) override;
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) override;
  Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) override;
  /// Where both are on one file system that can (xfs, btrfs), for multiples of its block size.
  Result<bool> share_from(File& source, std::uint64_t source_offset, std::uint64_t offset,
                          std::uint64_t length) override;
  Result<DataRun> next_data(std::uint64_t offset) override;
  const std::string& name() const override { return path_; }

  /// From here on writes go through the page cache, and those of 64 KiB and more are on their way
  /// to the device when write_at() returns; of these, 64 MiB at most, a write waits for the oldest,
  /// which then leaves the cache. An error of the device may so be told by a later write; it always
  /// is, by that or by sync(). For what several threads write: the device gets longer requests than
  /// from direct writes, and short ones all at once (docs/performance.md, File I/O). Requires: no
  /// other thread uses the file.
  void write_behind();

  /// Takes the whole file's advisory lock (flock); it goes with the descriptor.
  /// Errors: EWOULDBLOCK if somebody else has it.
  Result<void> lock_exclusive();

  /// Takes the file for one writer: the lock above, and locks as QEMU takes them, on byte 100 + n
  /// for each permission n that is used and 200 + n for each that others may not use (QEMU,
  /// block/file-posix.c). They go with the descriptor. False: somebody else writes the file, or
  /// reads it and relies on its not being written.
  Result<bool> lock_for_writing();

  /// Takes the file for readers that rely on its not being written: shared with other readers, in
  /// the same two ways. They go with the descriptor. False: somebody writes the file, or wants
  /// nobody else to read it.
  Result<bool> lock_for_reading();

  /// Whether the file still has a name: one that was removed while it was open has none.
  Result<bool> has_name() const;
  /// Bytes of the file system that it takes: room that is reserved counts, holes do not.
  Result<std::uint64_t> allocated_bytes() const;

  /// Whether a QEMU process has this file open for writing: QEMU holds a lock on byte 100 + n for
  /// each permission n it uses, and 1 is "write" (QEMU, docs/system/images: image locking).
  Result<bool> is_written_by_qemu() const;

  /// What tells one state of a file from another: device, inode, size, mtime and ctime.
  /// Two equal stamps with no write between them are the same content.
  struct Stamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t size_bytes = 0;
    std::int64_t mtime_ns = 0;
    std::int64_t ctime_ns = 0;
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };
  Result<Stamp> stamp() const;

  int fd() const { return fd_; }

 private:
  struct WriteOut;
  Result<void> begin_write_out(std::uint64_t offset, std::uint64_t length);
  Result<void> sync_range(std::uint64_t offset, std::uint64_t length, unsigned flags);

  Result<bool> has_foreign_lock(std::uint64_t byte) const;
  Result<bool> take_flock(int operation);
  Result<bool> take_qemu_locks(std::span<const std::uint64_t> ours,
                               std::span<const std::uint64_t> conflicts);
  int fd_for(std::uint64_t offset, const std::byte* memory, std::size_t length) const;
  Result<std::size_t> read_from(int fd, std::uint64_t offset, std::span<std::byte> out) const;
  /// What is not cached, by `rule`, is read through `cold_fd`, and dropped if `drops`.
  Result<std::size_t> read_by_pieces(std::uint64_t offset, std::span<std::byte> out,
                                     CachedPieces::Rule rule, int cold_fd, bool drops) const;
  int passing_fd();

  const std::string path_;
  const int fd_;
  const int direct_fd_;
  const bool prefer_cached_;
  std::once_flag passing_once_;
  int passing_fd_ = -1;  ///< A descriptor without readahead, made when it is first asked for.
  std::unique_ptr<WriteOut> write_out_;  ///< With write_behind().
};

}  // namespace vhdxm
