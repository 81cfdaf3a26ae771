// A disk at the destination whose cells are taken where the disk that arrives has the same.
//
// An older copy, a template, a sibling: any VHDX of the folder with the same logical sector size.
// Its content counts, as a guest would see it. Only where it and the disk are both differencing,
// layer is held against layer, sectors and their presence.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/directory.h"
#include "base/hash128.h"
#include "base/result.h"
#include "transfer/cell_hash.h"
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

  /// Whole cells in which the seed has data and `plan` has blocks; in order, joined.
  Result<std::vector<HeldRange>> held_ranges(const vhdx::BlockPlan& plan) const;

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
  SeedDisk(std::unique_ptr<vhdx::Image> image, const vhdx::Geometry& disk);
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length,
                            std::vector<vhdx::Extent>& out) const;
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

  std::unique_ptr<vhdx::Image> image_;
  const vhdx::Geometry disk_;
  const bool by_layer_;  ///< Both are differencing.
};

}  // namespace vhdxm::transfer
