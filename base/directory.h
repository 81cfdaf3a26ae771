// A folder that disks arrive in: files are made, renamed and removed relative to its descriptor.
//
// Names are single path components; symbolic links are never followed. So nothing that a peer
// says can reach outside the folder.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/posix_file.h"

namespace vhdxm {

/// Thread safety: all members may be called from any thread.
/// Errors: BaseErrc::kInvalidArgument from every member that takes a name which is no plain name.
class Directory {
 public:
  /// Opens an existing folder.
  static Result<std::unique_ptr<Directory>> open(const std::string& path);
  /// Takes over an open descriptor.
  Directory(std::string path, int fd);
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  /// Whether `name` can stand for a file in a folder: not empty, at most 255 bytes, no '/', no
  /// control character, not "." or "..".
  static bool is_plain_name(std::string_view name);

  /// Makes `name`, which must not exist, readable and writable by its owner alone.
  /// Errors: EEXIST.
  Result<std::unique_ptr<PosixFile>> create_file(const std::string& name, bool direct) const;
  /// Makes a file that has no name and is gone when it is closed. Null where the file system
  /// cannot.
  Result<std::unique_ptr<PosixFile>> create_unnamed_file(bool direct) const;
  /// Opens `name`, which must exist and be a regular file, not a symbolic link.
  Result<std::unique_ptr<PosixFile>> open_file(const std::string& name,
                                               PosixFile::Options options) const;

  /// Opens the folder `name` in this one, and makes it first, for its owner alone, if it is not
  /// there. Errors: ENOTDIR, also for a symbolic link.
  Result<std::unique_ptr<Directory>> open_or_make_folder(const std::string& name) const;

  Result<bool> exists(const std::string& name) const;
  /// Renames; fails with EEXIST rather than replace `to`.
  Result<void> rename_no_replace(const std::string& from, const std::string& to) const;
  /// Renames, in place of `to` if there is one: whoever looks sees the old file or the new one.
  Result<void> rename_replacing(const std::string& from, const std::string& to) const;
  /// The same into another folder. Errors: EXDEV, if that is on another file system.
  Result<void> rename_no_replace(const std::string& from, const Directory& folder,
                                 const std::string& to) const;
  /// Removes `name`; a file that is not there is no error.
  Result<void> remove(const std::string& name) const;
  /// Makes renames, creations and removals durable.
  Result<void> sync() const;
  /// Units: bytes an unprivileged user can still write.
  Result<std::uint64_t> free_bytes() const;
  /// Which file system it is in: those of one number share their room.
  Result<std::uint64_t> file_system() const;
  /// The names in the folder, sorted, without "." and "..".
  Result<std::vector<std::string>> list() const;

  const std::string& path() const { return path_; }
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }

 private:
  Result<std::unique_ptr<PosixFile>> open_at(const std::string& name, int flags, bool direct) const;

  const std::string path_;
  const int fd_;
};

}  // namespace vhdxm
