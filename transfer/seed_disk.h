// What is at the destination already, and whose cells are taken where the disk that arrives has
// the same.
//
// An older copy, a template, a sibling: any VHDX of the folder with the same logical sector size.
// Its content counts, as a guest would see it. Only where it and the disk are both differencing,
// layer is held against layer, sectors and their presence. Or what an earlier job left of this very
// disk, when it had other blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/directory.h"
#include "base/hash128.h"
#include "base/result.h"
#include "transfer/cell_hash.h"
#include "transfer/job_journal.h"
#include "transfer/messages.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/image.h"

namespace vhdxm::transfer {

/// Thread safety: const members may be called from several threads.
class SeedDisk {
 public:
  /// Opens `name` for reading. `disk`: of the disk that arrives.
  /// Errors: those of opening a disk; Errc::kIncompatible: other sectors, a parent that lies
  /// outside the folder; kSourceInUse: a guest writes to it.
  static Result<std::unique_ptr<SeedDisk>> open(const Directory& folder, const std::string& name,
                                                const vhdx::Geometry& disk);

  /// `file`: the one that `begun` tells about, of a job that did not end. It is only read.
  /// Errors: as vhdx::PlannedFile::open().
  static Result<std::unique_ptr<SeedDisk>> open_begun(std::shared_ptr<PosixFile> file,
                                                      const BegunFile& begun,
                                                      const vhdx::Geometry& disk);

  /// Whole cells in which the seed has data and `plan` has blocks; in order, joined. Stops when
  /// there are `ranges_max`.
  Result<std::vector<HeldRange>> held_ranges(const vhdx::BlockPlan& plan,
                                             std::size_t ranges_max) const;
  /// Whether it has data in the cell.
  Result<bool> holds(std::uint64_t offset, std::uint64_t length) const;

  /// The hash of a cell that lies inside the seed. `buffer`: kCellBytes.
  Result<Hash128> hash_cell(std::uint64_t offset, std::uint64_t length, std::uint64_t hash_seed,
                            std::span<std::byte> buffer) const;
  /// Copies the cell to the disk that arrives, if it has this hash still; if it is one run of data,
  /// by sharing the file system's blocks where they can be, and then the hash is of what stands in
  /// the disk that arrives. Errors: Errc::kChecksum if it has not; those of reading and writing.
  Result<void> copy_cell(std::uint64_t offset, std::uint64_t length, const Hash128& hash,
                         std::uint64_t hash_seed, std::span<std::byte> buffer,
                         vhdx::BulkWriter& writer) const;

 private:
  /// As vhdx::DiskView::map().
  using Map = std::function<Result<std::uint64_t>(std::uint64_t offset, std::uint64_t length,
                                                  std::vector<vhdx::Extent>& out)>;
  SeedDisk(Map map, std::string name, std::uint64_t size_bytes, const vhdx::Geometry& disk);
  /// Reads a cell, absent sectors as zeros.
  struct Cell {
    std::vector<vhdx::Extent> extents;
    SectorPresence presence;
    Hash128 hash;
  };
  Result<Cell> read_cell(std::uint64_t offset, std::span<std::byte> bytes,
                         std::uint64_t hash_seed) const;

  Result<bool> share_cell(std::uint64_t offset, std::span<std::byte> bytes, const Hash128& hash,
                          std::uint64_t hash_seed, vhdx::BulkWriter& writer) const;
  Error changed(std::uint64_t offset) const;

  const Map map_;
  const std::string name_;
  const std::uint64_t size_bytes_;
  const vhdx::Geometry disk_;
};

}  // namespace vhdxm::transfer
