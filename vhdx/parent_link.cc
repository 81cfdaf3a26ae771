#include "vhdx/parent_link.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "vhdx/parent_locator.h"

namespace vhdxm::vhdx {
namespace {

namespace fs = std::filesystem;

Error refused(const char* where, const std::string& name) {
  return Error{.code = BaseErrc::kInvalidArgument, .where = where, .subject = name};
}

Result<fs::path> resolve(const fs::path& path) {
  std::error_code failure;
  fs::path resolved = fs::canonical(path, failure);
  if (failure) {
    return Error{.code = error_code(failure.value(), boost::system::system_category()),
                 .where = "resolve path",
                 .subject = path.string()};
  }
  return resolved;
}

/// Whether a relative_path can say this component as it is.
bool is_sayable(std::string_view name) {
  return !name.empty() && name.find_first_of("\\/") == name.npos &&
         std::none_of(name.begin(), name.end(), [](char c) { return c == '\0'; });
}

std::pair<std::string, std::string> entry(std::string_view key, std::string value) {
  return {std::string(key), std::move(value)};
}

}  // namespace

Result<ParentLocator> make_parent_locator(const std::string& parent_path,
                                          const std::string& child_path,
                                          const Guid& parent_data_write_guid) {
  if (parent_data_write_guid.is_zero()) {
    return refused("a disk whose DataWriteGuid is zero cannot have children, [MS-VHDX] 2.6.2.6.3",
                   parent_path);
  }
  const fs::path child_folder = fs::path(child_path).parent_path();
  VHDXM_TRY(const fs::path parent, resolve(parent_path));
  VHDXM_TRY(const fs::path folder, resolve(child_folder.empty() ? fs::path(".") : child_folder));
  std::string relative;
  for (const fs::path& part : parent.lexically_relative(folder)) {
    if (!is_sayable(part.native())) {
      return refused(
          "a relative_path has backslashes between names and none within, [MS-VHDX] "
          "2.6.2.6.3",
          parent.string());
    }
    if (relative.empty() && part != "..") relative = ".";
    if (!relative.empty()) relative += '\\';
    relative += part.native();
  }
  ParentLocator locator;
  locator.entries.push_back(
      entry(kParentLinkageKey, "{" + to_string(parent_data_write_guid) + "}"));
  locator.entries.push_back(entry(kRelativePathKey, std::move(relative)));
  return locator;
}

Description describe_child(const Description& parent, ParentLocator locator) {
  Description child = parent;
  child.geometry.type = DiskType::kDifferencing;
  child.data_write_guid = Guid::random();
  child.parent = std::move(locator);
  std::erase_if(child.opaque_items,
                [](const OpaqueItem& item) { return (item.flags & kMetadataIsVirtualDisk) == 0; });
  return child;
}

Result<ParentLocator> locator_beside(const ParentLocator& locator, const std::string& parent_name) {
  if (!is_sayable(parent_name) || parent_name == "." || parent_name == "..") {
    return refused("the name of a parent disk must be that of a file in the child's folder",
                   parent_name);
  }
  constexpr std::array kPaths = {kRelativePathKey, kVolumePathKey, kAbsoluteWin32PathKey};
  ParentLocator beside;
  for (const auto& [key, value] : locator.entries) {
    if (std::find(kPaths.begin(), kPaths.end(), key) == kPaths.end()) {
      beside.entries.emplace_back(key, value);
    }
  }
  beside.entries.push_back(entry(kRelativePathKey, ".\\" + parent_name));
  return beside;
}

std::string parent_name_of(const ParentLocator& locator) {
  for (const std::string_view key : {kRelativePathKey, kVolumePathKey, kAbsoluteWin32PathKey}) {
    const std::string* path = locator.find(key);
    if (path == nullptr) continue;
    const std::size_t slash = path->find_last_of("\\/");
    return slash == std::string::npos ? *path : path->substr(slash + 1);
  }
  return {};
}

}  // namespace vhdxm::vhdx
