#include "vhdx/parent_resolver.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "vhdx/parent_locator.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::size_t kNameBytesMax = 255;  // of a name on every common file system

/// Both separators: other programs than Windows write relative paths with a slash.
bool is_separator(char c) {
  return c == '\\' || c == '/';
}

bool is_absolute(std::string_view path) {
  if (path.empty()) return false;
  return is_separator(path[0]) || (path.size() >= 2 && path[1] == ':');
}

/// The components of a path, without empty ones and ".".
std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const auto end = static_cast<std::size_t>(std::find_if(path.begin(), path.end(), is_separator) -
                                              path.begin());
    const std::string_view part = path.substr(0, end);
    if (!part.empty() && part != ".") parts.push_back(part);
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

bool is_name(std::string_view part) {
  return part != ".." && part.size() <= kNameBytesMax &&
         std::none_of(part.begin(), part.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string join(const std::string& folder, std::string_view name) {
  std::string path = folder;
  if (path.back() != '/') path += '/';
  return path.append(name);
}

/// A relative path as the host writes it; nullopt for one that is not followed.
std::optional<std::string> follow(const std::string& folder, std::string_view relative) {
  if (is_absolute(relative)) return std::nullopt;
  const std::vector<std::string_view> parts = split(relative);
  const auto first_name =
      std::find_if(parts.begin(), parts.end(), [](std::string_view part) { return part != ".."; });
  // ".." only in front: no program writes it elsewhere, and behind a symbolic link it would lead
  // somewhere else than it says.
  if (static_cast<std::size_t>(first_name - parts.begin()) > kParentClimbMax) return std::nullopt;
  if (first_name == parts.end() || !std::all_of(first_name, parts.end(), is_name)) {
    return std::nullopt;
  }
  std::string path = folder;
  for (const std::string_view part : parts) path = join(path, part);
  return path;
}

}  // namespace

std::vector<ParentCandidate> parent_candidates(const std::string& child_path,
                                               const ParentLocator& locator) {
  const std::string folder = folder_of(child_path);
  std::vector<ParentCandidate> candidates;
  const auto add = [&](std::string path, bool is_guess) {
    const bool known = std::any_of(candidates.begin(), candidates.end(),
                                   [&](const ParentCandidate& c) { return c.path == path; });
    if (!known) candidates.push_back({.path = std::move(path), .is_guess = is_guess});
  };
  if (const std::string* relative = locator.find(kRelativePathKey)) {
    if (auto path = follow(folder, *relative)) add(std::move(*path), false);
  }
  for (const std::string_view key : {kRelativePathKey, kVolumePathKey, kAbsoluteWin32PathKey}) {
    const std::string* text = locator.find(key);
    if (text == nullptr) continue;
    const std::vector<std::string_view> parts = split(*text);
    if (!parts.empty() && is_name(parts.back())) add(join(folder, parts.back()), true);
  }
  return candidates;
}

std::string describe_paths(const ParentLocator& locator) {
  std::string text;
  for (const std::string_view key : {kRelativePathKey, kVolumePathKey, kAbsoluteWin32PathKey}) {
    const std::string* value = locator.find(key);
    if (value == nullptr) continue;
    if (!text.empty()) text += ", ";
    text.append(key).append(" \"").append(*value).append("\"");
  }
  return text.empty() ? "no path" : text;
}

}  // namespace vhdxm::vhdx
