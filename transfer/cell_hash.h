// The hash of one cell of a disk, by which two hosts find out that they hold the same.
//
// Defined in docs/protocol.md, "Reconcile": in a differencing disk which sectors are present counts
// as much as what they hold.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/hash128.h"
#include "transfer/frame.h"

namespace vhdxm::transfer {

/// Which sectors of a cell the layer itself has; those of the others show the parent's.
class SectorPresence {
 public:
  /// Units: bytes. `cell_bytes`: kCellBytes, less for the last cell of a disk.
  SectorPresence(std::uint64_t cell_bytes, std::uint32_t sector_bytes);

  /// Makes the sectors of [begin, begin + length) of the cell present.
  /// Requires: whole sectors inside the cell; none of them was set before.
  void set(std::uint64_t begin, std::uint64_t length);
  bool any() const { return present_ != 0; }
  bool all() const { return present_ == sectors_; }
  /// One bit a sector, the first in the lowest bit of the first byte; whole bytes.
  std::span<const std::byte> bits() const { return {bits_.data(), (sectors_ + 7) / 8}; }

 private:
  static constexpr std::size_t kSectorBytesMin = 512;

  std::uint32_t sector_bytes_;
  std::size_t sectors_;
  std::size_t present_ = 0;
  std::array<std::byte, kCellBytes / kSectorBytesMin / 8> bits_{};
};

/// The hash of a cell. `bytes`: all of it, absent sectors as zeros. Zero if no sector is present:
/// what says "not here" on the wire.
Hash128 cell_hash(std::span<const std::byte> bytes, const SectorPresence& presence,
                  std::uint64_t seed);

}  // namespace vhdxm::transfer
