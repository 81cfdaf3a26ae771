// A virtual disk: a VHDX file and, if it is a differencing disk, the chain of its parents.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/posix_file.h"
#include "vhdx/layer.h"

namespace vhdxm::vhdx {

/// Thread safety: map() and read() may be called from several threads.
class Image {
 public:
  struct OpenOptions {
    Layer::Replay replay = Layer::Replay::kInMemory;  ///< Of the leaf; parents are never written.
    bool direct = false;                              ///< PosixFile::Options::direct.
    bool prefer_cached = false;                       ///< PosixFile::Options::prefer_cached.
    bool leaf_only = false;       ///< Do not look for parents; map() then shows kParent extents.
    std::size_t depth_max = 256;  ///< Layers, the leaf included.
  };

  /// Opens the disk at `path` and its parents, by the parent locators: relative path, then volume
  /// path, then absolute path; a parent is taken only if its DataWriteGuid is the child's linkage.
  /// Errors: name the file they are about. A parent that is missing, a cycle, a wrong parent, a
  /// path that this program does not follow: each by name.
  static Result<std::unique_ptr<Image>> open(const std::string& path, OpenOptions options);
  static Result<std::unique_ptr<Image>> open(const std::string& path);

  /// The layers of open(), leaf first, for a leaf that the caller opened as `options` say.
  static Result<std::vector<std::unique_ptr<Layer>>> open_layers(std::shared_ptr<PosixFile> leaf,
                                                                 const OpenOptions& options);

  /// From open layers, leaf first; each must be the child of the next. For tests and fuzzing.
  static Result<std::unique_ptr<Image>> from_layers(std::vector<std::unique_ptr<Layer>> layers);

  std::uint64_t virtual_size_bytes() const;
  const Geometry& geometry() const { return layers_.front()->geometry(); }
  /// Leaf first.
  const std::vector<std::unique_ptr<Layer>>& layers() const { return layers_; }

  /// As Layer::map(), resolved through the chain: no kParent (unless leaf_only). Where a parent is
  /// smaller than its child, what lies past its end is kUnmapped.
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length, std::vector<Extent>& out,
                            std::size_t extents_max = 4096);

  /// Fills `out` with the disk's content at `offset`; unallocated ranges read as zero. Built on
  /// map(). Requires: the range lies inside the disk; any byte offset and length. Errors: the
  /// file's; Errc::kParentNotFound for sectors of the parent's, opened leaf_only.
  Result<void> read(std::uint64_t offset, std::span<std::byte> out);

 private:
  Image(std::vector<std::unique_ptr<Layer>> layers, bool leaf_only);

  Result<std::uint64_t> map_from(std::size_t layer, std::uint64_t offset, std::uint64_t end,
                                 ExtentList& list);

  std::vector<std::unique_ptr<Layer>> layers_;
  bool leaf_only_ = false;
};

}  // namespace vhdxm::vhdx
