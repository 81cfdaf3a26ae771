// What a BulkWriter left behind, read as a disk: a file without metadata, whose layout its plan
// tells and whose holes tell what never came.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/file.h"
#include "vhdx/block_plan.h"
#include "vhdx/description.h"
#include "vhdx/extent.h"

namespace vhdxm::vhdx {

/// Thread safety: const members may be called from several threads.
class PlannedFile {
 public:
  /// `file`: one that BulkWriter::start() was called on with this description and plan, complete or
  /// not. It is only read. Errors: those of BulkWriter::start(); BaseErrc::kInvalidArgument if the
  /// file has not the plan's size.
  static Result<std::unique_ptr<PlannedFile>> open(std::shared_ptr<File> file,
                                                   const Description& description, BlockPlan plan);

  /// As DiskView::map(): kData where bytes were written, kParent where a partial block's bitmap
  /// says so, kUnmapped elsewhere. Cost: by the runs of data in the file, and the bitmaps.
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length, std::vector<Extent>& out,
                            std::size_t extents_max = 4096) const;

  const Geometry& geometry() const { return plan_.geometry(); }
  const std::string& name() const { return file_->name(); }

 private:
  PlannedFile(std::shared_ptr<File> file, BlockPlan plan);
  Result<void> map_present(std::uint64_t offset, std::uint64_t length,
                           std::vector<Extent>& out) const;
  Result<void> map_partial(std::uint64_t offset, std::uint64_t length,
                           std::vector<Extent>& out) const;

  const std::shared_ptr<File> file_;
  const BlockPlan plan_;
};

}  // namespace vhdxm::vhdx
