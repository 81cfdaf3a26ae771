#include "migration/state_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <span>
#include <utility>

namespace vhdxm::migration {
namespace {

constexpr const char* kNewSuffix = ".new";

Result<void> make_folders(const std::string& path) {
  std::filesystem::path made;
  for (const auto& part : std::filesystem::path(path)) {
    made /= part;
    if (made.empty() || ::mkdir(made.c_str(), S_IRWXU) == 0 || errno == EEXIST) continue;
    // A folder that is there may lie on a file system where none can be made.
    std::error_code ignored;
    const int failed = errno;
    if (std::filesystem::is_directory(made, ignored)) continue;
    errno = failed;
    return errno_error("make the folder").about(made);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<StateFolder>> StateFolder::open(const std::string& path) {
  VHDXM_TRY_VOID(make_folders(path));
  VHDXM_TRY(auto folder, Directory::open(path));
  return std::unique_ptr<StateFolder>(new StateFolder(std::move(folder)));
}

Result<std::optional<std::string>> StateFolder::read(const std::string& name) const {
  VHDXM_TRY(const bool there, folder_->exists(name));
  if (!there) return std::optional<std::string>();
  VHDXM_TRY(const auto file,
            folder_->open_file(name, {.access = PosixFile::Access::kReadOnly, .direct = false}));
  VHDXM_TRY(const std::uint64_t size, file->size());
  if (size > kFileBytesMax) {
    return Error{.code = BaseErrc::kOutOfRange,
                 .where = "size of a state file",
                 .found = size,
                 .expected = kFileBytesMax,
                 .subject = file->name()};
  }
  std::string text(size, '\0');
  VHDXM_TRY_VOID(read_exact_at(*file, 0, std::as_writable_bytes(std::span(text)), "state file"));
  return std::optional(std::move(text));
}

Result<void> StateFolder::write(const std::string& name, const std::string& text) const {
  const std::string fresh = name + kNewSuffix;
  VHDXM_TRY_VOID(folder_->remove(fresh));
  VHDXM_TRY(const auto file, folder_->create_file(fresh, /*direct=*/false));
  VHDXM_TRY_VOID(file->write_at(0, std::as_bytes(std::span(text))));
  VHDXM_TRY_VOID(file->sync());
  const std::string to = folder_->path_of(name);
  if (::rename(folder_->path_of(fresh).c_str(), to.c_str()) != 0) {
    return errno_error("replace a state file").about(to);
  }
  return folder_->sync();
}

Result<void> StateFolder::remove(const std::string& name) const {
  VHDXM_TRY_VOID(folder_->remove(name));
  return folder_->sync();
}

Result<std::vector<std::string>> StateFolder::list() const {
  VHDXM_TRY(auto names, folder_->list());
  std::erase_if(names, [](const std::string& name) { return name.ends_with(kNewSuffix); });
  return names;
}

}  // namespace vhdxm::migration
