// The few things that ownership asks of a folder; a test's folder can lose power in between.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/directory.h"
#include "base/result.h"

namespace vhdxm::migration {

/// A folder. Names are plain names (Directory::is_plain_name).
class OwnershipFiles {
 public:
  virtual ~OwnershipFiles() = default;

  /// Nothing: there is no such file. Errors: Errc::kRecord if it is longer than `bytes_max`.
  virtual Result<std::optional<std::vector<std::byte>>> read(const std::string& name,
                                                             std::size_t bytes_max) = 0;
  /// Makes the file `name`, in place of one that is there, and syncs its content; its name is not
  /// durable before sync().
  virtual Result<void> write(const std::string& name, std::span<const std::byte> bytes) = 0;
  virtual Result<void> rename_replacing(const std::string& from, const std::string& to) = 0;
  /// Errors: EEXIST.
  virtual Result<void> rename_no_replace(const std::string& from, const std::string& to) = 0;
  /// A file that is not there is no error.
  virtual Result<void> remove(const std::string& name) = 0;
  virtual Result<bool> exists(const std::string& name) = 0;
  virtual Result<std::vector<std::string>> list() = 0;
  /// Takes everybody's right to write; or gives it back to the file's owner.
  virtual Result<void> set_read_only(const std::string& name, bool read_only) = 0;
  /// Makes names durable: what was made, renamed and removed.
  virtual Result<void> sync() = 0;
};

/// Over a folder of the host.
class DirectoryFiles final : public OwnershipFiles {
 public:
  explicit DirectoryFiles(std::unique_ptr<Directory> directory);

  Result<std::optional<std::vector<std::byte>>> read(const std::string& name,
                                                     std::size_t bytes_max) override;
  Result<void> write(const std::string& name, std::span<const std::byte> bytes) override;
  Result<void> rename_replacing(const std::string& from, const std::string& to) override;
  Result<void> rename_no_replace(const std::string& from, const std::string& to) override;
  Result<void> remove(const std::string& name) override;
  Result<bool> exists(const std::string& name) override;
  Result<std::vector<std::string>> list() override;
  Result<void> set_read_only(const std::string& name, bool read_only) override;
  Result<void> sync() override;

 private:
  const std::unique_ptr<Directory> directory_;
};

/// The folders that disks of this host lie in.
class OwnershipFolders {
 public:
  virtual ~OwnershipFolders() = default;
  /// Lifetime: as long as this object.
  virtual Result<OwnershipFiles*> folder(const std::string& path) = 0;
  /// Those in which sidecars are looked for.
  virtual std::vector<std::string> paths() = 0;
};

/// Folders of the host by their path, opened when they are first asked for.
/// Thread safety: all members may be called from any thread.
class DirectoryFolders final : public OwnershipFolders {
 public:
  explicit DirectoryFolders(std::vector<std::string> paths) : paths_(std::move(paths)) {}
  Result<OwnershipFiles*> folder(const std::string& path) override;
  std::vector<std::string> paths() override;

 private:
  std::mutex mutex_;
  std::vector<std::string> paths_;  ///< Grows by what folder() opened.
  std::map<std::string, std::unique_ptr<DirectoryFiles>> open_;
};

}  // namespace vhdxm::migration
