#include "migration/ownership_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "migration/errc.h"

namespace vhdxm::migration {
namespace {

bool is_missing(const Error& error) {
  return error.code == boost::system::errc::no_such_file_or_directory;
}

}  // namespace

DirectoryFiles::DirectoryFiles(std::unique_ptr<Directory> directory)
    : directory_(std::move(directory)) {}

Result<std::optional<std::vector<std::byte>>> DirectoryFiles::read(const std::string& name,
                                                                   std::size_t bytes_max) {
  auto file = directory_->open_file(name, {});
  if (file.has_error() && is_missing(file.error())) {
    return std::optional<std::vector<std::byte>>();
  }
  if (file.has_error()) return std::move(file).error();
  VHDXM_TRY(const std::uint64_t size, (*file)->size());
  if (size > bytes_max) {
    return Error{.code = Errc::kRecord,
                 .where = "length of the file",
                 .found = size,
                 .expected = bytes_max,
                 .subject = directory_->path_of(name)};
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  auto done = read_exact_at(**file, 0, bytes, "record");
  if (done.has_error()) return std::move(done).error().about(directory_->path_of(name));
  return std::optional(std::move(bytes));
}

Result<void> DirectoryFiles::write(const std::string& name, std::span<const std::byte> bytes) {
  VHDXM_TRY_VOID(directory_->remove(name));
  VHDXM_TRY(const auto file, directory_->create_file(name, false));
  VHDXM_TRY_VOID(file->write_at(0, bytes));
  return file->sync();
}

Result<void> DirectoryFiles::rename_replacing(const std::string& from, const std::string& to) {
  return directory_->rename_replacing(from, to);
}

Result<void> DirectoryFiles::rename_no_replace(const std::string& from, const std::string& to) {
  return directory_->rename_no_replace(from, to);
}

Result<void> DirectoryFiles::remove(const std::string& name) {
  return directory_->remove(name);
}

Result<bool> DirectoryFiles::exists(const std::string& name) {
  return directory_->exists(name);
}

Result<std::vector<std::string>> DirectoryFiles::list() {
  return directory_->list();
}

Result<void> DirectoryFiles::set_read_only(const std::string& name, bool read_only) {
  VHDXM_TRY(const auto file, directory_->open_file(name, {}));
  struct stat status {};
  if (::fstat(file->fd(), &status) != 0) {
    return errno_error("mode").about(directory_->path_of(name));
  }
  // Never more readers than the disk had.
  const mode_t mode = read_only ? status.st_mode & 0444 : (status.st_mode & 0777) | S_IWUSR;
  if (::fchmod(file->fd(), mode) != 0) {
    return errno_error("change mode").about(directory_->path_of(name));
  }
  return {};
}

Result<void> DirectoryFiles::sync() {
  return directory_->sync();
}

Result<OwnershipFiles*> DirectoryFolders::folder(const std::string& path) {
  const std::scoped_lock lock(mutex_);
  auto& files = open_[path];
  if (!files) {
    auto directory = Directory::open(path);
    if (directory.has_error()) {
      open_.erase(path);
      return std::move(directory).error();
    }
    files = std::make_unique<DirectoryFiles>(std::move(*directory));
    if (std::find(paths_.begin(), paths_.end(), path) == paths_.end()) paths_.push_back(path);
  }
  return files.get();
}

std::vector<std::string> DirectoryFolders::paths() {
  const std::scoped_lock lock(mutex_);
  return paths_;
}

}  // namespace vhdxm::migration
