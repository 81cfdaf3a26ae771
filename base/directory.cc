#include "base/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace vhdxm {
namespace {

Result<void> check_name(const std::string& name) {
  if (Directory::is_plain_name(name)) return {};
  return Error{.code = BaseErrc::kInvalidArgument, .where = "file name", .subject = name};
}

}  // namespace

Result<std::unique_ptr<Directory>> Directory::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno_error("open folder").about(path);
  return std::make_unique<Directory>(path, fd);
}

Directory::Directory(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

Directory::~Directory() {
  ::close(fd_);
}

bool Directory::is_plain_name(std::string_view name) {
  if (name.empty() || name.size() > 255 || name == "." || name == "..") return false;
  return std::none_of(name.begin(), name.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f || c == '/';
  });
}

Result<std::unique_ptr<PosixFile>> Directory::open_at(const std::string& name, int flags,
                                                      bool direct) const {
  VHDXM_TRY_VOID(check_name(name));
  const int fd = ::openat(fd_, name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (fd < 0) return errno_error("open").about(path_of(name));
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "not a regular file",
                 .subject = path_of(name)};
  }
  int direct_fd = -1;
  if (direct) {
    const int again = (flags & ~(O_CREAT | O_EXCL)) | O_CLOEXEC | O_NOFOLLOW | O_DIRECT;
    direct_fd = ::openat(fd_, name.c_str(), again);
  }
  return std::make_unique<PosixFile>(path_of(name), fd, direct_fd);
}

Result<std::unique_ptr<PosixFile>> Directory::create_file(const std::string& name,
                                                          bool direct) const {
  return open_at(name, O_RDWR | O_CREAT | O_EXCL, direct);
}

Result<std::unique_ptr<PosixFile>> Directory::create_unnamed_file(bool direct) const {
  const int fd = ::openat(fd_, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) {
    // EISDIR: a kernel that takes O_TMPFILE for O_DIRECTORY.
    if (errno == EOPNOTSUPP || errno == EISDIR) return std::unique_ptr<PosixFile>();
    return errno_error("make a file without a name").about(path_);
  }
  int direct_fd = -1;
  if (direct) {
    const std::string link = fmt::format("/proc/self/fd/{}", fd);
    direct_fd = ::open(link.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  }
  return std::make_unique<PosixFile>(path_of("(a file without a name)"), fd, direct_fd);
}

Result<std::unique_ptr<PosixFile>> Directory::open_file(const std::string& name,
                                                        PosixFile::Options options) const {
  const bool write = options.access == PosixFile::Access::kReadWrite;
  return open_at(name, write ? O_RDWR : O_RDONLY, options.direct);
}

Result<std::unique_ptr<Directory>> Directory::open_or_make_folder(const std::string& name) const {
  VHDXM_TRY_VOID(check_name(name));
  if (::mkdirat(fd_, name.c_str(), 0700) != 0 && errno != EEXIST) {
    return errno_error("make folder").about(path_of(name));
  }
  const int fd = ::openat(fd_, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return errno_error("open folder").about(path_of(name));
  return std::make_unique<Directory>(path_of(name), fd);
}

Result<bool> Directory::exists(const std::string& name) const {
  VHDXM_TRY_VOID(check_name(name));
  struct stat status {};
  if (::fstatat(fd_, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) return true;
  if (errno == ENOENT) return false;
  return errno_error("look up").about(path_of(name));
}

Result<void> Directory::rename_no_replace(const std::string& from, const std::string& to) const {
  return rename_no_replace(from, *this, to);
}

Result<void> Directory::rename_no_replace(const std::string& from, const Directory& folder,
                                          const std::string& to) const {
  VHDXM_TRY_VOID(check_name(from));
  VHDXM_TRY_VOID(check_name(to));
  if (::renameat2(fd_, from.c_str(), folder.fd_, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  if (errno != EINVAL && errno != ENOSYS) return errno_error("rename").about(folder.path_of(to));
  // A file system without RENAME_NOREPLACE: link() refuses an existing name just as well.
  if (::linkat(fd_, from.c_str(), folder.fd_, to.c_str(), 0) != 0) {
    return errno_error("rename").about(folder.path_of(to));
  }
  return remove(from);
}

Result<void> Directory::rename_replacing(const std::string& from, const std::string& to) const {
  VHDXM_TRY_VOID(check_name(from));
  VHDXM_TRY_VOID(check_name(to));
  if (::renameat(fd_, from.c_str(), fd_, to.c_str()) == 0) return {};
  return errno_error("rename").about(path_of(to));
}

Result<void> Directory::remove(const std::string& name) const {
  VHDXM_TRY_VOID(check_name(name));
  if (::unlinkat(fd_, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  return errno_error("remove").about(path_of(name));
}

Result<void> Directory::sync() const {
  if (::fsync(fd_) != 0) return errno_error("sync folder").about(path_);
  return {};
}

Result<std::uint64_t> Directory::free_bytes() const {
  struct statvfs status {};
  if (::fstatvfs(fd_, &status) != 0) return errno_error("free space").about(path_);
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

Result<std::uint64_t> Directory::file_system() const {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) return errno_error("file system").about(path_);
  return static_cast<std::uint64_t>(status.st_dev);
}

Result<std::vector<std::string>> Directory::list() const {
  const int fd = ::openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* stream = fd < 0 ? nullptr : ::fdopendir(fd);
  if (stream == nullptr) {
    auto error = errno_error("list").about(path_);
    if (fd >= 0) ::close(fd);
    return error;
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  ::closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace vhdxm
