#include "transfer/storage_folders.h"

#include <sys/stat.h>

#include <set>
#include <utility>

#include "base/check.h"
#include "transfer/wire_text.h"

namespace vhdxm::transfer {
namespace {

/// What a folder is, however many paths lead to it.
using FolderIdentity = std::pair<dev_t, ino_t>;

Result<FolderIdentity> identity_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno_error("identity").about(path);
  return FolderIdentity(status.st_dev, status.st_ino);
}

}  // namespace

const std::string* FolderPaths::find(const std::string& name) const {
  if (name.empty()) return &into;
  const auto found = named.find(name);
  return found == named.end() ? nullptr : &found->second;
}

Result<std::unique_ptr<StorageFolders>> StorageFolders::open(const FolderPaths& paths) {
  std::unique_ptr<StorageFolders> folders(new StorageFolders);
  std::set<FolderIdentity> seen;
  VHDXM_TRY(folders->into_, Directory::open(paths.into));
  VHDXM_TRY(const FolderIdentity usual, identity_of(paths.into));
  seen.insert(usual);
  for (const auto& [name, path] : paths.named) {
    if (!is_folder_name(name)) {
      return Error{.code = BaseErrc::kInvalidArgument,
                   .where = "the name of a storage folder",
                   .subject = name};
    }
    VHDXM_TRY(folders->named_[name], Directory::open(path));
    VHDXM_TRY(const FolderIdentity identity, identity_of(path));
    // Two disks of one file name would be one file.
    if (!seen.insert(identity).second) {
      return Error{.code = BaseErrc::kInvalidArgument,
                   .where = "the same folder as another storage folder",
                   .subject = path};
    }
  }
  return folders;
}

const Directory* StorageFolders::find(const std::string& name) const {
  if (name.empty()) return into_.get();
  const auto found = named_.find(name);
  return found == named_.end() ? nullptr : found->second.get();
}

const Directory& StorageFolders::of(const std::string& name) const {
  const Directory* const folder = find(name);
  VHDXM_CHECK(folder != nullptr);
  return *folder;
}

std::string StorageFolders::choice() const {
  if (named_.empty()) return "none has a name there";
  std::string text = "there are ";
  bool first = true;
  for (const auto& one : named_) {
    if (!std::exchange(first, false)) text += ", ";
    text += one.first;
  }
  return text;
}

std::string text_of_place(const std::string& folder, const std::string& name) {
  if (folder.empty()) return name;
  std::string text = folder;
  text += '/';
  return text += name;
}

}  // namespace vhdxm::transfer
