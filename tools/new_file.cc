#include "tools/new_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "tools/printable_text.h"

namespace vhdxm::tools {
namespace {

constexpr std::string_view kPartialSuffix = ".partial";

CommandFailure exists_failure(const std::string& path) {
  return {.message = fmt::format("{}: exists already, and is never overwritten", path),
          .advice = "Choose another name, or move the file away first.",
          .exit = ExitCode::kFailed,
          .ownership = {}};
}

CommandFailure partial_failure(const std::string& partial_path) {
  return {.message = fmt::format("{}: exists already: another command is at work on it, or one was "
                                 "killed",
                                 partial_path),
          .advice = fmt::format("If nothing is at work on it, remove it: rm {}",
                                shell_word(partial_path)),
          .exit = ExitCode::kFailed,
          .ownership = {}};
}

}  // namespace

boost::system::result<NewFile, CommandFailure> NewFile::start(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  std::string folder_path = slash == std::string::npos ? "." : path.substr(0, slash);
  if (folder_path.empty()) folder_path = "/";
  if (!Directory::is_plain_name(name)) {
    return usage_failure(fmt::format("'{}' is not the name of a file", path),
                         "Give the path of a file that does not exist yet.");
  }
  auto folder = Directory::open(folder_path);
  if (folder.has_error()) return failure_of(folder.error());
  auto exists = (*folder)->exists(name);
  if (exists.has_error()) return failure_of(exists.error());
  if (*exists) return exists_failure(path);

  const std::string partial = name + std::string(kPartialSuffix);
  auto file = (*folder)->create_file(partial, /*direct=*/true);
  if (file.has_error()) {
    if (file.error().code == boost::system::errc::file_exists) {
      return partial_failure(path + std::string(kPartialSuffix));
    }
    return failure_of(file.error());
  }
  return NewFile(path, std::move(*folder), name, std::move(*file));
}

NewFile::NewFile(std::string path, std::unique_ptr<Directory> folder, std::string name,
                 std::shared_ptr<PosixFile> file)
    : path_(std::move(path)),
      folder_(std::move(folder)),
      name_(std::move(name)),
      file_(std::move(file)) {}

NewFile::~NewFile() {
  // The folder is gone after commit() and after a move.
  if (folder_) static_cast<void>(folder_->remove(partial_name()));
}

Result<void> NewFile::commit() {
  VHDXM_TRY_VOID(folder_->rename_no_replace(partial_name(), name_));
  const std::unique_ptr<Directory> folder = std::move(folder_);
  return folder->sync();
}

std::string NewFile::partial_name() const {
  return name_ + std::string(kPartialSuffix);
}

}  // namespace vhdxm::tools
