#include "vhdx/image.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "vhdx/errc.h"
#include "vhdx/extent_list.h"
#include "vhdx/parent_resolver.h"

namespace vhdxm::vhdx {
namespace {

/// Extents of one layer that are resolved at a time: little is mapped in vain when the list is
/// full.
constexpr std::size_t kLayerExtentsAtOnce = 64;

struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

std::string linkage_text(const ParentLocator& locator) {
  std::string text;
  if (const auto linkage = locator.linkage()) text = to_string(*linkage);
  if (const auto linkage = locator.linkage2()) text += " or " + to_string(*linkage);
  return text;
}

/// Proves that `parent` is what `child` was made from.
Result<void> require_linked(const Layer& child, const Layer& parent) {
  VHDXM_CHECK(child.description().parent.has_value());
  const ParentLocator& locator = *child.description().parent;
  const Guid& identity = parent.description().data_write_guid;
  // A zero GUID identifies nothing, so it never matches.
  const bool linked =
      !identity.is_zero() && (locator.linkage() == identity || locator.linkage2() == identity);
  if (!linked) {
    return format_error(Errc::kParentMismatch, "parent_linkage, [MS-VHDX] 2.6.2.6.3")
        .about(fmt::format("{} (linked to DataWriteGuid {}) and {} (DataWriteGuid {})",
                           child.name(), linkage_text(locator), parent.name(),
                           to_string(identity)));
  }
  if (child.geometry().logical_sector_bytes != parent.geometry().logical_sector_bytes) {
    return format_error(Errc::kParentSectorSize, "Logical Sector Size, [MS-VHDX] 2.6.2.4",
                        Error::kNoOffset, child.geometry().logical_sector_bytes,
                        parent.geometry().logical_sector_bytes)
        .about(fmt::format("{} and its parent {}", child.name(), parent.name()));
  }
  return {};
}

/// The chain while it is being opened.
class ChainOpener {
 public:
  explicit ChainOpener(const Image::OpenOptions& options) : options_(options) {}

  Result<std::vector<std::unique_ptr<Layer>>> open(std::shared_ptr<PosixFile> file) {
    const std::string path = file->name();
    struct stat status {};
    if (::fstat(file->fd(), &status) != 0) return errno_error("stat").about(path);
    identities_.push_back({status.st_dev, status.st_ino});
    VHDXM_TRY(auto leaf, Layer::open(std::move(file), options_.replay));
    layers_.push_back(std::move(leaf));
    while (!options_.leaf_only && layers_.back()->geometry().type == DiskType::kDifferencing) {
      if (layers_.size() >= options_.depth_max) {
        return format_error(Errc::kChainTooDeep, "differencing disks behind each other",
                            Error::kNoOffset, layers_.size() + 1, options_.depth_max)
            .about(path);
      }
      VHDXM_TRY_VOID(open_parent());
    }
    return std::move(layers_);
  }

 private:
  /// Opens the parent of the last layer: the first candidate that is linked to it.
  Result<void> open_parent() {
    const Layer& child = *layers_.back();
    const ParentLocator& locator = *child.description().parent;
    std::optional<Error> refused;
    std::string tried;
    for (const ParentCandidate& candidate : candidates_of(child.name(), locator)) {
      tried += (tried.empty() ? "" : ", ") + candidate.path;
      auto parent = try_candidate(child, candidate);
      if (parent.has_error()) {
        // The first thing that was found says most: it stood where the locator points.
        if (!refused) refused = std::move(parent).error();
        continue;
      }
      if (*parent == nullptr) continue;
      layers_.push_back(std::move(*parent));
      return {};
    }
    if (refused) return std::move(*refused);
    return format_error(Errc::kParentNotFound, "[MS-VHDX] 2.6.2.6.3")
        .about(fmt::format("{} (it names {}; looked for {})", child.name(), describe_paths(locator),
                           tried.empty() ? "nothing" : tried));
  }

  /// From the folder of the path that was given, then from the folder where the file really is: a
  /// disk may be opened through a symbolic link.
  static std::vector<ParentCandidate> candidates_of(const std::string& child,
                                                    const ParentLocator& locator) {
    std::vector<ParentCandidate> candidates = parent_candidates(child, locator);
    std::error_code ignored;
    if (!std::filesystem::is_symlink(child, ignored)) return candidates;
    const std::string real = std::filesystem::canonical(child, ignored).string();
    for (ParentCandidate& candidate : parent_candidates(real, locator)) {
      if (std::find(candidates.begin(), candidates.end(), candidate) == candidates.end()) {
        candidates.push_back(std::move(candidate));
      }
    }
    return candidates;
  }

  /// A layer; nullptr if there is no such file.
  Result<std::unique_ptr<Layer>> try_candidate(const Layer& child,
                                               const ParentCandidate& candidate) {
    struct stat status {};
    if (::stat(candidate.path.c_str(), &status) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return std::unique_ptr<Layer>();
      return errno_error("stat of a parent").about(candidate.path);
    }
    // Before it is opened: opening a device can do things.
    if (!S_ISREG(status.st_mode)) {
      return format_error(Errc::kParentNotFound, "the parent is not a regular file")
          .about(candidate.path);
    }
    // By identity, not by name: links give a file many names.
    const FileIdentity identity{status.st_dev, status.st_ino};
    if (std::find(identities_.begin(), identities_.end(), identity) != identities_.end()) {
      if (candidate.is_guess) return std::unique_ptr<Layer>();
      return format_error(Errc::kParentCycle, "parent locator, [MS-VHDX] 2.6.2.6")
          .about(fmt::format("{} and its parent {}", child.name(), candidate.path));
    }
    VHDXM_TRY(auto file,
              PosixFile::open(candidate.path, {.access = PosixFile::Access::kReadOnly,
                                               .direct = options_.direct,
                                               .prefer_cached = options_.prefer_cached}));
    // A parent is never written: its other children rely on it.
    VHDXM_TRY(auto parent, Layer::open(std::move(file), Layer::Replay::kInMemory));
    VHDXM_TRY_VOID(require_linked(child, *parent));
    identities_.push_back(identity);
    return parent;
  }

  const Image::OpenOptions& options_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<FileIdentity> identities_;
};

}  // namespace

Image::Image(std::vector<std::unique_ptr<Layer>> layers, bool leaf_only)
    : layers_(std::move(layers)), leaf_only_(leaf_only) {}

Result<std::unique_ptr<Image>> Image::open(const std::string& path) {
  return open(path, OpenOptions{});
}

Result<std::vector<std::unique_ptr<Layer>>> Image::open_layers(std::shared_ptr<PosixFile> leaf,
                                                               const OpenOptions& options) {
  return ChainOpener(options).open(std::move(leaf));
}

Result<std::unique_ptr<Image>> Image::open(const std::string& path, OpenOptions options) {
  const bool writable = options.replay == Layer::Replay::kOnFile;
  VHDXM_TRY(auto file, PosixFile::open(path, {.access = writable ? PosixFile::Access::kReadWrite
                                                                 : PosixFile::Access::kReadOnly,
                                              .direct = options.direct,
                                              .prefer_cached = options.prefer_cached}));
  VHDXM_TRY(auto layers, open_layers(std::move(file), options));
  return std::unique_ptr<Image>(new Image(std::move(layers), options.leaf_only));
}

Result<std::unique_ptr<Image>> Image::from_layers(std::vector<std::unique_ptr<Layer>> layers) {
  VHDXM_CHECK(!layers.empty());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const bool has_parent = layers[i]->geometry().type == DiskType::kDifferencing;
    if (has_parent && i + 1 == layers.size()) {
      return format_error(Errc::kParentNotFound, "the last layer of a chain has a parent")
          .about(layers[i]->name());
    }
    if (!has_parent && i + 1 < layers.size()) {
      return format_error(Errc::kParentMismatch, "a layer inside a chain has no parent")
          .about(layers[i]->name());
    }
    if (has_parent) VHDXM_TRY_VOID(require_linked(*layers[i], *layers[i + 1]));
  }
  return std::unique_ptr<Image>(new Image(std::move(layers), false));
}

std::uint64_t Image::virtual_size_bytes() const {
  return geometry().virtual_size_bytes;
}

Result<std::uint64_t> Image::map(std::uint64_t offset, std::uint64_t length,
                                 std::vector<Extent>& out, std::size_t extents_max) {
  const std::uint64_t size = virtual_size_bytes();
  VHDXM_CHECK(offset < size);
  if (layers_.size() == 1) return layers_.front()->map(offset, length, out, extents_max);
  ExtentList list(out, extents_max);
  return map_from(0, offset, offset + std::min(length, size - offset), list);
}

/// Maps [offset, end) as it shows through layer `layer` and those behind it.
Result<std::uint64_t> Image::map_from(std::size_t layer, std::uint64_t offset, std::uint64_t end,
                                      ExtentList& list) {
  const std::uint64_t layer_end = std::min(end, layers_[layer]->geometry().virtual_size_bytes);
  std::uint64_t at = offset;
  std::vector<Extent> extents;
  while (at < layer_end) {
    extents.clear();
    VHDXM_TRY_VOID(layers_[layer]->map(at, layer_end - at, extents, kLayerExtentsAtOnce));
    for (const Extent& extent : extents) {
      const std::uint64_t stop = extent.virtual_offset + extent.length;
      if (extent.kind == ExtentKind::kParent && layer + 1 < layers_.size()) {
        VHDXM_TRY(at, map_from(layer + 1, at, stop, list));
        if (at < stop) return at;
        continue;
      }
      if (!list.add(extent)) return at;
      at = stop;
    }
  }
  // A child may have been made larger than its parent: there is nothing behind it there.
  if (at < end) {
    if (!list.add({.virtual_offset = at, .length = end - at, .kind = ExtentKind::kUnmapped})) {
      return at;
    }
  }
  return end;
}

Result<void> Image::read(std::uint64_t offset, std::span<std::byte> out) {
  const std::uint64_t size = virtual_size_bytes();
  VHDXM_CHECK(offset <= size && out.size() <= size - offset);
  const std::uint64_t sector = geometry().logical_sector_bytes;
  const std::uint64_t end = offset + out.size();
  std::vector<Extent> extents;
  for (std::uint64_t at = offset; at < end;) {
    const std::uint64_t from = at - at % sector;
    const std::uint64_t to = (end + sector - 1) / sector * sector;
    extents.clear();
    VHDXM_TRY_VOID(map(from, to - from, extents, kLayerExtentsAtOnce));
    for (const Extent& extent : extents) {
      const std::uint64_t stop = std::min(end, extent.virtual_offset + extent.length);
      const auto piece =
          out.subspan(static_cast<std::size_t>(at - offset), static_cast<std::size_t>(stop - at));
      if (extent.kind == ExtentKind::kParent) {
        return format_error(Errc::kParentNotFound,
                            "the content is the parent's, and the disk was opened without it")
            .about(layers_.front()->name());
      }
      if (extent.kind == ExtentKind::kData) {
        VHDXM_TRY_VOID(read_exact_at(*extent.file,
                                     extent.file_offset + (at - extent.virtual_offset), piece,
                                     "payload block, [MS-VHDX] 2.4"));
      } else {
        std::fill(piece.begin(), piece.end(), std::byte{0});
      }
      at = stop;
    }
  }
  return {};
}

}  // namespace vhdxm::vhdx
