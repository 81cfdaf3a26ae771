// A chain shown as one dynamic disk: what `send --flatten` sends.
//
// The content, the sizes, the Virtual Disk ID and the foreign metadata are the leaf's: it is the
// same virtual disk. DataWriteGuid identifies what one file holds, and no file of the chain holds
// all of this; so it is another, made of those of all layers: the same chain has the same one.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "vhdx/disk_view.h"
#include "vhdx/image.h"

namespace vhdxm::vhdx {

class ExtentList;

class FlattenedDisk final : public DiskView {
 public:
  /// Requires: `image` outlives this, and was not opened leaf_only.
  explicit FlattenedDisk(Image& image);

  const Description& description() const override { return description_; }
  /// Data wherever a layer shows data. A block that has none is of one kind as a whole: zero, if
  /// any of it is known to be zero, else unmapped.
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length, std::vector<Extent>& out,
                            std::size_t extents_max = 4096) override;
  /// kFullyPresent where any of the block is data, else kNotPresent.
  Result<void> payload_states(std::uint64_t first_block, std::span<PayloadState> out) override;

 private:
  /// What is in a block that several runs share.
  struct SharedBlock {
    std::uint64_t number = 0;
    bool has_data = false;
    ExtentKind kind = ExtentKind::kUnmapped;  ///< Of a block without data.
  };
  Result<SharedBlock> look_into(std::uint64_t block);
  Result<std::uint64_t> map_without_data(Extent run, std::uint64_t end, ExtentList& list);

  Image& image_;
  Description description_;
  std::mutex mutex_;
  std::optional<SharedBlock> last_;  ///< Protected by mutex_: a block may have thousands of runs.
};

}  // namespace vhdxm::vhdx
