// One VHDX file, without its parents: opened, its log replayed, and mapped.
//
// Spec: [MS-VHDX] 2.2-2.6. The order of an open is the spec's: file identifier, headers, log
// replay, region tables, metadata, BAT. The BAT is read page by page as the map asks for it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/file.h"
#include "vhdx/description.h"
#include "vhdx/disk_view.h"
#include "vhdx/extent.h"
#include "vhdx/header.h"
#include "vhdx/region_table.h"

namespace vhdxm::vhdx {

class Bat;
class ExtentList;

/// Thread safety: map(), payload_states() and validate_bat() may be called from several threads.
class Layer final : public DiskView {
 public:
  enum class Replay {
    kInMemory,  ///< The file is not touched: replayed sectors are laid over it.
    kOnFile,    ///< The file is mended, headers first (2.2.2.1), before anything else is read.
  };

  /// Opens `file`. Errors: vhdx::Errc with the rule, field and offset; the file's own.
  static Result<std::unique_ptr<Layer>> open(std::shared_ptr<File> file, Replay replay);
  ~Layer() override;

  const Description& description() const override { return description_; }
  const Header& header() const { return header_; }
  const RegionTable& regions() const { return regions_; }
  /// Whether the file had a log that was replayed, and how many entries.
  std::uint64_t replayed_entries() const { return replayed_entries_; }
  /// The file as seen through the replay. Payload extents of map() refer to it.
  File& file() const { return *view_; }
  const std::string& name() const { return view_->name(); }
  /// The BAT, for whoever judges its entries as they stand.
  Bat& bat() const { return *bat_; }

  /// As DiskView::map(): what this file holds; kParent where it is transparent.
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length, std::vector<Extent>& out,
                            std::size_t extents_max = 4096) override;

  Result<void> payload_states(std::uint64_t first_block, std::span<PayloadState> out) override;

  /// Reads the whole BAT and proves that no two objects share a byte of the file and that every
  /// block lies inside it. Memory: one bit for each MiB of the file.
  Result<void> validate_bat();

 private:
  Layer() = default;

  Result<void> load(std::shared_ptr<File> file, Replay replay);
  Result<std::uint64_t> map_blocks(std::uint64_t offset, std::uint64_t end, ExtentList& list);
  Result<std::uint64_t> map_partial(std::uint64_t block, std::uint64_t payload_offset,
                                    std::uint64_t begin, std::uint64_t end, ExtentList& list);
  Result<void> prove_blocks_apart();

  std::shared_ptr<File> view_;
  Description description_;
  Header header_;
  RegionTable regions_;
  std::uint64_t replayed_entries_ = 0;
  std::unique_ptr<Bat> bat_;
};

}  // namespace vhdxm::vhdx
