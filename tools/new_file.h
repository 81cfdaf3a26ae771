// A file that gets its name only when it is complete, and never takes another's.
//
// It is written as NAME.partial and renamed without replacing; the folder is synced after that.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/directory.h"
#include "base/posix_file.h"
#include "tools/command_failure.h"

namespace vhdxm::tools {

class NewFile {
 public:
  /// Starts the file that will be `path`. Failures: the name exists; its partial exists, because
  /// another command works on it or one was killed; the folder's.
  static boost::system::result<NewFile, CommandFailure> start(const std::string& path);
  /// Removes what was not committed.
  ~NewFile();
  NewFile(NewFile&& other) noexcept = default;
  NewFile& operator=(NewFile&&) = delete;

  const std::shared_ptr<PosixFile>& file() const { return file_; }
  const std::string& path() const { return path_; }

  /// Gives the file its name, durably. The caller has made the content durable.
  Result<void> commit();

 private:
  NewFile(std::string path, std::unique_ptr<Directory> folder, std::string name,
          std::shared_ptr<PosixFile> file);
  std::string partial_name() const;

  std::string path_;
  std::unique_ptr<Directory> folder_;
  std::string name_;
  std::shared_ptr<PosixFile> file_;
};

}  // namespace vhdxm::tools
