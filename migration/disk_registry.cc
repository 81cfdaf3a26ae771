#include "migration/disk_registry.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <utility>

#include "migration/json_fields.h"

namespace vhdxm::migration {
namespace {

constexpr std::size_t kDiskNameMax = 64;
constexpr const char* kDiskSuffix = ".json";
/// Version 1 had no groups.
constexpr std::uint64_t kDiskFileVersion = 2;

Error system_failure(int number, const char* where, const std::string& subject) {
  errno = number;
  return errno_error(where).about(subject);
}

bool is_letter_or_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

bool is_disk_name(const std::string& name) {
  if (name.empty() || name.size() > kDiskNameMax || !is_letter_or_digit(name.front())) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
  });
}

std::string encode(const RegisteredDisk& disk) {
  boost::json::object fields;
  fields["version"] = kDiskFileVersion;
  fields["name"] = disk.name;
  fields["path"] = disk.path;
  fields["read_only"] = disk.read_only;
  fields["group"] = disk.group;
  return boost::json::serialize(fields) + "\n";
}

Result<RegisteredDisk> decode_disk(const std::string& text, const std::string& file) {
  const auto bad = [&](const std::string& complaint) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "file of a registered disk",
                 .subject = file + ", " + complaint};
  };
  std::string complaint;
  const auto object = parse_json_object(text, complaint);
  if (!object) return bad(complaint);
  RegisteredDisk disk;
  std::uint64_t version = 0;
  JsonFields fields(*object);
  fields.number("version", version, kDiskFileVersion, true);
  fields.text("name", disk.name, true);
  fields.text("path", disk.path, true);
  fields.flag("read_only", disk.read_only, true);
  if (version != 1) fields.text("group", disk.group, true);
  complaint = fields.finish();
  if (complaint.empty() && (version < 1 || version > kDiskFileVersion)) {
    complaint = "version: must be 1 or 2";
  }
  if (complaint.empty() && !disk.group.empty() && !is_disk_name(disk.group)) {
    complaint = "group: is no name of a group";
  }
  if (complaint.empty() && !is_disk_name(disk.name)) complaint = "name: is no name of a disk";
  if (complaint.empty() && !disk.path.starts_with('/')) complaint = "path: must be absolute";
  if (!complaint.empty()) return bad(complaint);
  return disk;
}

Result<std::unique_ptr<DiskRegistry>> DiskRegistry::open(const std::string& path) {
  VHDXM_TRY(auto folder, StateFolder::open(path));
  std::unique_ptr<DiskRegistry> registry(new DiskRegistry(std::move(folder)));
  VHDXM_TRY(const auto names, registry->folder_->list());
  for (const std::string& name : names) {
    const std::string file = path + "/" + name;
    VHDXM_TRY(const auto text, registry->folder_->read(name));
    VHDXM_TRY(auto disk, decode_disk(text.value_or(""), file));
    if (disk.name + kDiskSuffix != name) {
      return Error{.code = BaseErrc::kInvalidArgument,
                   .where = "name of a registered disk, which is not its file's",
                   .subject = file};
    }
    const std::string key = disk.name;
    registry->disks_.emplace(key, std::move(disk));
  }
  return registry;
}

Result<void> DiskRegistry::add(const RegisteredDisk& disk) {
  if (!is_disk_name(disk.name) || !disk.path.starts_with('/') ||
      (!disk.group.empty() && !is_disk_name(disk.group))) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "name or path of a disk to register",
                 .subject = disk.name};
  }
  const std::lock_guard lock(mutex_);
  for (const auto& [name, other] : disks_) {
    if (name == disk.name) return system_failure(EEXIST, "register the disk", name);
    if (other.path == disk.path) {
      return system_failure(EEXIST, "register a disk's path a second time",
                            disk.path + ", which is " + name);
    }
  }
  VHDXM_TRY_VOID(folder_->write(disk.name + kDiskSuffix, encode(disk)));
  disks_.emplace(disk.name, disk);
  return {};
}

Result<void> DiskRegistry::set_group(const std::string& name, const std::string& group) {
  if (!group.empty() && !is_disk_name(group)) {
    return Error{.code = BaseErrc::kInvalidArgument, .where = "name of a group", .subject = group};
  }
  const std::lock_guard lock(mutex_);
  const auto found = disks_.find(name);
  if (found == disks_.end()) return system_failure(ENOENT, "find the registered disk", name);
  RegisteredDisk changed = found->second;
  changed.group = group;
  VHDXM_TRY_VOID(folder_->write(name + kDiskSuffix, encode(changed)));
  found->second = std::move(changed);
  return {};
}

Result<void> DiskRegistry::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = disks_.find(name);
  if (found == disks_.end()) return system_failure(ENOENT, "find the registered disk", name);
  VHDXM_TRY_VOID(folder_->remove(name + kDiskSuffix));
  disks_.erase(found);
  return {};
}

std::optional<RegisteredDisk> DiskRegistry::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = disks_.find(name);
  if (found == disks_.end()) return std::nullopt;
  return found->second;
}

std::optional<RegisteredDisk> DiskRegistry::find_path(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, disk] : disks_) {
    if (disk.path == path) return disk;
  }
  return std::nullopt;
}

std::vector<RegisteredDisk> DiskRegistry::of_group(const std::string& group) const {
  const std::lock_guard lock(mutex_);
  std::vector<RegisteredDisk> all;
  for (const auto& [name, disk] : disks_) {
    if (!group.empty() && disk.group == group) all.push_back(disk);
  }
  return all;
}

std::vector<RegisteredDisk> DiskRegistry::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<RegisteredDisk> all;
  for (const auto& [name, disk] : disks_) all.push_back(disk);
  return all;
}

}  // namespace vhdxm::migration
