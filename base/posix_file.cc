#include "base/posix_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <deque>
#include <limits>
#include <mutex>
#include <utility>

#include "base/buffer_pool.h"
#include "base/cached_pieces.h"

namespace vhdxm {
namespace {

Error out_of_range(const char* where, std::uint64_t offset, const std::string& path) {
  return Error{.code = BaseErrc::kOutOfRange, .where = where, .offset = offset, .subject = path};
}

bool fits_off_t(std::uint64_t offset, std::uint64_t length) {
  constexpr std::uint64_t kMax = std::numeric_limits<off_t>::max();
  return offset <= kMax && length <= kMax - offset;
}

// Shorter writes wait for the sync, which writes them back all at once: a device takes thousands of
// single pages one by one no faster than that.
constexpr std::size_t kWriteOutBytesMin = 64 * 1024;
/// A tenth of a second of a fast disk; more only fills the host's memory.
constexpr std::uint64_t kWriteOutBytesMax = 64 * 1024 * 1024;

// QEMU's permissions and where it locks for them (include/block/block-common.h, file-posix.c).
constexpr std::uint64_t kQemuConsistentRead = 0;
constexpr std::uint64_t kQemuWrite = 1;
constexpr std::uint64_t kQemuResize = 3;
constexpr std::uint64_t kQemuUsed = 100;
constexpr std::uint64_t kQemuNotShared = 200;

struct flock one_byte(short type, std::uint64_t byte) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(byte);
  lock.l_len = 1;
  return lock;
}

// What ioctl(FICLONERANGE) says where sharing is no way, though writing may be one.
bool means_not_shareable(int error) {
  constexpr std::array kErrors{EOPNOTSUPP, ENOTTY, ENOSYS, EXDEV,  EINVAL,
                               EPERM,      EACCES, ENOSPC, EDQUOT, ETXTBSY};
  return std::find(kErrors.begin(), kErrors.end(), error) != kErrors.end();
}

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

Result<std::unique_ptr<PosixFile>> PosixFile::open(const std::string& path, Options options) {
  const int mode = options.access == Access::kReadWrite ? O_RDWR : O_RDONLY;
  // O_NONBLOCK: opening a pipe by mistake must not hang; it means nothing for a regular file.
  const int fd = ::open(path.c_str(), mode | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno_error("open").about(path);
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !(S_ISREG(status.st_mode) || S_ISBLK(status.st_mode))) {
    ::close(fd);
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "neither a regular file nor a block device",
                 .subject = path};
  }
  int direct_fd = -1;
  if (options.direct) direct_fd = ::open(path.c_str(), mode | O_CLOEXEC | O_DIRECT);
  return std::make_unique<PosixFile>(path, fd, direct_fd, options.prefer_cached);
}

/// What is on its way to the device, the oldest first.
struct PosixFile::WriteOut {
  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  std::mutex mutex;
  std::deque<Range> ranges;  ///< Protected by mutex.
  std::uint64_t bytes = 0;   ///< Of all ranges. Protected by mutex.
  /// The first error that the device told of anything here: the kernel tells it once.
  std::atomic<int> failed{0};
};

PosixFile::PosixFile(std::string path, int fd, int direct_fd, bool prefer_cached)
    : path_(std::move(path)),
      fd_(fd),
      direct_fd_(direct_fd),
      prefer_cached_(prefer_cached && direct_fd >= 0) {}

PosixFile::~PosixFile() {
  ::close(fd_);
  if (direct_fd_ >= 0) ::close(direct_fd_);
  if (passing_fd_ >= 0) ::close(passing_fd_);
}

int PosixFile::fd_for(std::uint64_t offset, const std::byte* memory, std::size_t length) const {
  constexpr std::uint64_t kMask = BufferPool::kAlignment - 1;
  if (direct_fd_ < 0 || length == 0) return fd_;
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return ((offset | length | address) & kMask) == 0 ? direct_fd_ : fd_;
}

Result<std::size_t> PosixFile::read_some_at(std::uint64_t offset, std::span<std::byte> out) {
  if (!fits_off_t(offset, out.size())) return out_of_range("read", offset, path_);
  const int fd = fd_for(offset, out.data(), out.size());
  if (prefer_cached_ && fd == direct_fd_) {
    return read_by_pieces(offset, out, CachedPieces::Rule::kAllPages, direct_fd_, false);
  }
  return read_from(fd, offset, out);
}

// Readahead would bring in, and seem to find cached, what comes next.
int PosixFile::passing_fd() {
  std::call_once(passing_once_, [this] {
    const std::string same = "/proc/self/fd/" + std::to_string(fd_);  // whatever its name is now
    passing_fd_ = ::open(same.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (passing_fd_ >= 0) (void)::posix_fadvise(passing_fd_, 0, 0, POSIX_FADV_RANDOM);
  });
  return passing_fd_;
}

Result<std::size_t> PosixFile::read_passing_at(std::uint64_t offset, std::span<std::byte> out) {
  const bool aligned = offset % BufferPool::kAlignment == 0;
  if (!fits_off_t(offset, out.size()) || !aligned || out.size() < CachedPieces::kPieceBytes ||
      passing_fd() < 0) {
    return read_some_at(offset, out);
  }
  return read_by_pieces(offset, out, CachedPieces::Rule::kAnyPage, passing_fd_, true);
}

Result<std::size_t> PosixFile::read_from(int fd, std::uint64_t offset,
                                         std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    // After a short direct read the rest is unaligned: it goes through the cache.
    const int from = done == 0 ? fd : fd_;
    const ssize_t got =
        ::pread(from, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0) {
      if (errno == EINTR) continue;
      return errno_error("read", offset + done).about(path_);
    }
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

Result<std::size_t> PosixFile::read_by_pieces(std::uint64_t offset, std::span<std::byte> out,
                                              CachedPieces::Rule rule, int cold_fd,
                                              bool drops) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto window = std::min(out.size() - done, CachedPieces::kWindowBytes);
    const CachedPieces pieces(fd_, offset + done, window, rule);
    for (std::size_t at = 0; at < window;) {
      const auto run = pieces.run_at(at);
      const std::uint64_t from = offset + done + at;
      VHDXM_TRY(const std::size_t got,
                read_from(run.cached ? fd_ : cold_fd, from, out.subspan(done + at, run.length)));
      if (drops && !run.cached) {
        (void)::posix_fadvise(fd_, static_cast<off_t>(from), static_cast<off_t>(run.length),
                              POSIX_FADV_DONTNEED);
      }
      at += got;
      if (got < run.length) return done + at;
    }
    done += window;
  }
  return done;
}

Result<void> PosixFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (!fits_off_t(offset, bytes.size())) return out_of_range("write", offset, path_);
  const int fd = write_out_ ? fd_ : fd_for(offset, bytes.data(), bytes.size());
  std::size_t done = 0;
  while (done < bytes.size()) {
    const int to = done == 0 ? fd : fd_;
    const ssize_t put =
        ::pwrite(to, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (put < 0) {
      if (errno == EINTR) continue;
      return errno_error("write", offset + done).about(path_);
    }
    done += static_cast<std::size_t>(put);
  }
  if (!write_out_ || bytes.size() < kWriteOutBytesMin) return {};
  return begin_write_out(offset, bytes.size());
}

void PosixFile::write_behind() {
  if (!write_out_) write_out_ = std::make_unique<WriteOut>();
}

Result<void> PosixFile::begin_write_out(std::uint64_t offset, std::uint64_t length) {
  VHDXM_TRY_VOID(sync_range(offset, length, SYNC_FILE_RANGE_WRITE));
  WriteOut::Range oldest;
  {
    const std::lock_guard lock(write_out_->mutex);
    write_out_->ranges.push_back({offset, length});
    write_out_->bytes += length;
    if (write_out_->bytes <= kWriteOutBytesMax) return {};
    oldest = write_out_->ranges.front();
    write_out_->ranges.pop_front();
    write_out_->bytes -= oldest.length;
  }
  VHDXM_TRY_VOID(
      sync_range(oldest.offset, oldest.length,
                 SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
  // What nobody reads again soon only drives out what somebody does. No promise: so no error.
  (void)::posix_fadvise(fd_, static_cast<off_t>(oldest.offset), static_cast<off_t>(oldest.length),
                        POSIX_FADV_DONTNEED);
  return {};
}

Result<void> PosixFile::sync_range(std::uint64_t offset, std::uint64_t length, unsigned flags) {
  if (::sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(length), flags) == 0 ||
      errno == ENOSYS) {
    return {};
  }
  const int error = errno;
  write_out_->failed = error;
  errno = error;
  return errno_error("write out", offset).about(path_);
}

Result<void> PosixFile::sync() {
  if (::fdatasync(fd_) != 0) return errno_error("sync").about(path_);
  if (!write_out_) return {};
  if (const int error = write_out_->failed; error != 0) {
    errno = error;
    return errno_error("write out").about(path_);
  }
  (void)::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
  return {};
}

Result<std::uint64_t> PosixFile::size() {
  // lseek, not stat: a block device has its size there.
  const off_t end = ::lseek(fd_, 0, SEEK_END);
  if (end < 0) return errno_error("size").about(path_);
  return static_cast<std::uint64_t>(end);
}

Result<void> PosixFile::resize(std::uint64_t size_bytes) {
  if (!fits_off_t(size_bytes, 0)) return out_of_range("resize", size_bytes, path_);
  if (::ftruncate(fd_, static_cast<off_t>(size_bytes)) != 0) {
    return errno_error("resize", size_bytes).about(path_);
  }
  return {};
}

Result<void> PosixFile::allocate(std::uint64_t offset, std::uint64_t length) {
  if (!fits_off_t(offset, length)) return out_of_range("allocate", offset, path_);
  if (length == 0) return {};
  while (::fallocate(fd_, 0, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
    if (errno == EINTR) continue;
    if (errno != EOPNOTSUPP) return errno_error("allocate", offset).about(path_);
    VHDXM_TRY(const std::uint64_t now, size());
    if (now < offset + length) return resize(offset + length);
    return {};
  }
  return {};
}

Result<void> PosixFile::punch_hole(std::uint64_t offset, std::uint64_t length) {
  if (!fits_off_t(offset, length)) return out_of_range("punch hole", offset, path_);
  if (length == 0) return {};
  if (::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(length)) == 0) {
    return {};
  }
  if (errno != EOPNOTSUPP) return errno_error("punch hole", offset).about(path_);
  VHDXM_TRY(const std::uint64_t now, size());
  static constexpr std::array<std::byte, 65536> kZeros{};
  const std::uint64_t end = std::min(now, offset + length);
  for (std::uint64_t at = offset; at < end;) {
    const auto piece = std::min<std::uint64_t>(end - at, kZeros.size());
    VHDXM_TRY_VOID(write_at(at, std::span(kZeros).first(static_cast<std::size_t>(piece))));
    at += piece;
  }
  return {};
}

Result<bool> PosixFile::share_from(File& source, std::uint64_t source_offset, std::uint64_t offset,
                                   std::uint64_t length) {
  if (!fits_off_t(offset, length)) return out_of_range("share", offset, path_);
  // Of any other form the bytes are not those of a descriptor.
  const auto* const from = dynamic_cast<const PosixFile*>(&source);
  if (from == nullptr || !fits_off_t(source_offset, length)) return false;
  if (length == 0) return true;  // to the kernel it would mean: all up to the source's end
  file_clone_range range{.src_fd = from->fd_,
                         .src_offset = source_offset,
                         .src_length = length,
                         .dest_offset = offset};
  while (::ioctl(fd_, FICLONERANGE, &range) != 0) {
    if (errno == EINTR) continue;
    if (means_not_shareable(errno)) return false;
    return errno_error("share blocks", offset).about(path_);
  }
  return true;
}

Result<File::DataRun> PosixFile::next_data(std::uint64_t offset) {
  VHDXM_TRY(const std::uint64_t end, size());
  if (offset >= end) return DataRun{end, end};
  const off_t begin = ::lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
  if (begin < 0) {
    if (errno == ENXIO) return DataRun{end, end};
    return DataRun{offset, end};
  }
  const off_t stop = ::lseek(fd_, begin, SEEK_HOLE);
  return DataRun{static_cast<std::uint64_t>(begin),
                 stop < 0 ? end : static_cast<std::uint64_t>(stop)};
}

Result<void> PosixFile::lock_exclusive() {
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) return errno_error("lock").about(path_);
  return {};
}

Result<bool> PosixFile::has_name() const {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) return errno_error("stat").about(path_);
  return status.st_nlink != 0;
}

Result<std::uint64_t> PosixFile::allocated_bytes() const {
  constexpr std::uint64_t kStatBlockBytes = 512;  // whatever the file system's blocks are
  struct stat status {};
  if (::fstat(fd_, &status) != 0) return errno_error("stat").about(path_);
  return static_cast<std::uint64_t>(status.st_blocks) * kStatBlockBytes;
}

Result<bool> PosixFile::has_foreign_lock(std::uint64_t byte) const {
  struct flock lock = one_byte(F_WRLCK, byte);  // would conflict with any lock there
  if (::fcntl(fd_, F_OFD_GETLK, &lock) != 0) {
    if (errno == EINVAL || errno == ENOLCK) return false;  // a file system without locks
    return errno_error("look for locks").about(path_);
  }
  return lock.l_type != F_UNLCK;
}

Result<bool> PosixFile::is_written_by_qemu() const {
  return has_foreign_lock(kQemuUsed + kQemuWrite);
}

Result<bool> PosixFile::take_flock(int operation) {
  if (::flock(fd_, operation | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  return errno_error("lock").about(path_);
}

Result<bool> PosixFile::take_qemu_locks(std::span<const std::uint64_t> ours,
                                        std::span<const std::uint64_t> conflicts) {
  // First taken, then looked at whether others have what conflicts: two who do so at once both
  // give up rather than both go on.
  for (const std::uint64_t byte : ours) {
    struct flock lock = one_byte(F_RDLCK, byte);
    if (::fcntl(fd_, F_OFD_SETLK, &lock) == 0) continue;
    if (errno == EINVAL || errno == ENOLCK) return true;
    if (errno == EAGAIN || errno == EACCES) return false;
    return errno_error("lock").about(path_);
  }
  for (const std::uint64_t byte : conflicts) {
    VHDXM_TRY(const bool taken, has_foreign_lock(byte));
    if (taken) return false;
  }
  return true;
}

Result<bool> PosixFile::lock_for_writing() {
  constexpr std::array kOurs = {kQemuUsed + kQemuConsistentRead, kQemuUsed + kQemuWrite,
                                kQemuUsed + kQemuResize, kQemuNotShared + kQemuWrite,
                                kQemuNotShared + kQemuResize};
  constexpr std::array kConflicts = {kQemuNotShared + kQemuConsistentRead,
                                     kQemuNotShared + kQemuWrite, kQemuNotShared + kQemuResize,
                                     kQemuUsed + kQemuWrite, kQemuUsed + kQemuResize};
  VHDXM_TRY(const bool locked, take_flock(LOCK_EX));
  if (!locked) return false;
  return take_qemu_locks(kOurs, kConflicts);
}

Result<bool> PosixFile::lock_for_reading() {
  constexpr std::array kOurs = {kQemuUsed + kQemuConsistentRead, kQemuNotShared + kQemuWrite,
                                kQemuNotShared + kQemuResize};
  constexpr std::array kConflicts = {kQemuNotShared + kQemuConsistentRead, kQemuUsed + kQemuWrite,
                                     kQemuUsed + kQemuResize};
  VHDXM_TRY(const bool locked, take_flock(LOCK_SH));
  if (!locked) return false;
  return take_qemu_locks(kOurs, kConflicts);
}

Result<PosixFile::Stamp> PosixFile::stamp() const {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) return errno_error("stat").about(path_);
  return Stamp{.device = status.st_dev,
               .inode = status.st_ino,
               .size_bytes = static_cast<std::uint64_t>(status.st_size),
               .mtime_ns = nanoseconds(status.st_mtim),
               .ctime_ns = nanoseconds(status.st_ctim)};
}

}  // namespace vhdxm
