// Ranges of bits of a sector bitmap block, changed and looked at where they stand in the file.
//
// Spec: [MS-VHDX] 2.4: bit 0 of byte 0 is the first sector. Nothing is kept in memory: a bitmap
// block is 1 MiB for each 4 GiB of disk (512-byte sectors), and an arriving disk touches all of
// them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/file.h"

namespace vhdxm::vhdx {

/// Sets or clears bits [first, first + count) of the bitmap block at file offset `block_offset`.
/// Thread safety: none; two calls for neighbouring bits share a byte.
/// Requires: first + count <= kSectorsPerBitmapBlock.
Result<void> write_bits(File& file, std::uint64_t block_offset, std::uint64_t first,
                        std::uint64_t count, bool value);

/// Whether bits [first, first + count) are all set. Requires: as above.
Result<bool> all_bits_set(File& file, std::uint64_t block_offset, std::uint64_t first,
                          std::uint64_t count);

/// Appends bits [first, first + count) to `out`. Requires: as above.
Result<void> read_bits(File& file, std::uint64_t block_offset, std::uint64_t first,
                       std::uint64_t count, std::vector<bool>& out);

}  // namespace vhdxm::vhdx
