// A folder of small files, each replaced as a whole: after a crash a file is the old one or the
// new.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/directory.h"
#include "base/result.h"

namespace vhdxm::migration {

/// Names are plain names (Directory::is_plain_name) that do not end in ".new".
/// Thread safety: from any thread; two that write one name, one after the other.
class StateFolder {
 public:
  static constexpr std::size_t kFileBytesMax = 1 << 20;

  /// Makes the folder and those above it if they are not there, for their owner alone.
  static Result<std::unique_ptr<StateFolder>> open(const std::string& path);

  /// Nothing if there is no such file.
  Result<std::optional<std::string>> read(const std::string& name) const;
  /// Durable when it returns, its name included.
  Result<void> write(const std::string& name, const std::string& text) const;
  /// Durable when it returns. A file that is not there is no error.
  Result<void> remove(const std::string& name) const;
  /// Sorted; without what a write that was cut short has left.
  Result<std::vector<std::string>> list() const;

  const std::string& path() const { return folder_->path(); }

 private:
  explicit StateFolder(std::unique_ptr<Directory> folder) : folder_(std::move(folder)) {}
  const std::unique_ptr<Directory> folder_;
};

}  // namespace vhdxm::migration
