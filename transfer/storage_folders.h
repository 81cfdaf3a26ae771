// The folders of a receiver that disks may arrive in.
//
// Whoever runs the receiver names them; a peer says a name, never a path, so it reaches no other
// folder of the host. The one that disks arrive in unless told has no name.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/directory.h"
#include "base/result.h"

namespace vhdxm::transfer {

/// The same as paths.
struct FolderPaths {
  std::string into;                            ///< Of disks for which no folder is named.
  std::map<std::string, std::string> named{};  ///< By name, which is_folder_name().

  /// "": that of `into`. nullptr: there is none of that name.
  const std::string* find(const std::string& name) const;
};

/// Opened. Thread safety: as Directory.
class StorageFolders {
 public:
  /// Opens existing folders. Errors: the system's, with the path; BaseErrc::kInvalidArgument for a
  /// name that cannot be one, and for one folder under two names, whatever paths lead to it.
  static Result<std::unique_ptr<StorageFolders>> open(const FolderPaths& paths);

  /// Of disks for which no folder is named.
  const Directory& into() const { return *into_; }
  /// "": into(). nullptr: there is none of that name.
  const Directory* find(const std::string& name) const;
  /// The same. Requires: there is one.
  const Directory& of(const std::string& name) const;
  /// What there is, in words: "there are bulk, fast".
  std::string choice() const;

 private:
  StorageFolders() = default;

  std::unique_ptr<Directory> into_;
  std::map<std::string, std::unique_ptr<Directory>> named_;
};

/// How a disk is called where there are several folders: "FOLDER/NAME", or "NAME" in the one that
/// has no name.
std::string text_of_place(const std::string& folder, const std::string& name);

}  // namespace vhdxm::transfer
