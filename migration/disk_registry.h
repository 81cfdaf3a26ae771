// The disks that this host's service exports: what survives the service, a file a disk.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "migration/state_folder.h"

namespace vhdxm::migration {

struct RegisteredDisk {
  std::string name;  ///< At this host; is_disk_name().
  std::string path;  ///< Absolute.
  bool read_only = false;
  std::string group = {};  ///< Those of one group have one mover, and move together; empty: alone.

  friend bool operator==(const RegisteredDisk&, const RegisteredDisk&) = default;
};

/// Letters, digits, '-', '_' and '.'; begins with a letter or a digit; at most 64 characters. It is
/// part of the names of files and sockets.
bool is_disk_name(const std::string& name);

/// As in its file. Strict both ways: decode errors with BaseErrc::kInvalidArgument for anything
/// that encode does not make.
std::string encode(const RegisteredDisk& disk);
Result<RegisteredDisk> decode_disk(const std::string& text, const std::string& file);

/// Thread safety: all members may be called from any thread.
class DiskRegistry {
 public:
  /// Reads all that are in the folder. Errors: a file that cannot be read is one, and names it: a
  /// disk that is silently not there would be worse.
  static Result<std::unique_ptr<DiskRegistry>> open(const std::string& folder);

  /// Errors: EEXIST if the name, or a disk at that path, is registered; kInvalidArgument of a name
  /// that is none. Durable when it returns.
  Result<void> add(const RegisteredDisk& disk);
  /// Puts one that is there into a group, or out of one. Errors: ENOENT; kInvalidArgument of a
  /// name that is none. Durable when it returns.
  Result<void> set_group(const std::string& name, const std::string& group);
  /// Errors: ENOENT. Durable when it returns.
  Result<void> remove(const std::string& name);

  std::optional<RegisteredDisk> find(const std::string& name) const;
  std::optional<RegisteredDisk> find_path(const std::string& path) const;
  /// By name. Nothing of the empty group.
  std::vector<RegisteredDisk> of_group(const std::string& group) const;
  /// By name.
  std::vector<RegisteredDisk> list() const;

 private:
  explicit DiskRegistry(std::unique_ptr<StateFolder> folder) : folder_(std::move(folder)) {}
  const std::unique_ptr<StateFolder> folder_;
  mutable std::mutex mutex_;
  std::map<std::string, RegisteredDisk> disks_;  ///< Protected by mutex_.
};

}  // namespace vhdxm::migration
