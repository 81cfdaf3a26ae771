// A digest of what one layer holds, the same whatever its file looks like.
//
// Two hosts compute it, each over its own file, to prove that a move lost nothing. It depends on
// the sectors that the layer says are present and on their bytes; not on block states, block order,
// sector bitmaps of full blocks, allocated zeros or the parents.
//
// Definition. The disk is cut into cells of 256 KiB, the last one shorter if the disk ends in it. A
// sector is transparent if the parent shows there; never in a disk without parent. A cell is
//
//   transparent   if all its sectors are,
//   zero          if none is and all its bytes are zero,
//   data          if none is and some byte is not zero,
//   mixed         otherwise.
//
// An entry is eight 64-bit little-endian numbers
//
//   kind  offset  length  data.low  data.high  presence.low  presence.high  0
//
// and the digest is the sum mod 2^128 of XXH3-128(entry, seed) over these entries:
//
//   kind 1, a data cell:    offset and length of the cell in bytes, data = XXH3-128 of its bytes
//   with
//                           the seed, presence = 0.
//   kind 2, a mixed cell:   as kind 1, transparent sectors counting as zeros; presence = XXH3-128
//   with
//                           the seed of one bit a sector, the first in the lowest bit of the first
//                           byte, 1 if present, padded with 0 to whole bytes.
//   kind 3, zero cells:     one entry for each run of neighbouring zero cells that no zero cell
//                           adjoins: offset and length of the run, data = presence = 0.
//   kind 4, the disk:       one entry: offset = logical sector size, length = virtual size,
//                           data = presence = 0.
//
// Transparent cells have no entry. So an empty disk of 64 TiB costs two hashes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/hash128.h"
#include "base/result.h"
#include "vhdx/disk_view.h"
#include "vhdx/format.h"
#include "vhdx/work_watch.h"

namespace vhdxm::vhdx {

inline constexpr std::uint64_t kDigestCellBytes = 256 * kKiB;

/// Reads all that `disk` holds, a layer or a chain shown as one disk. `buffer` is what is read into
/// at a time: a multiple of kDigestCellBytes, greater than zero, aligned as the layer's file likes
/// it. Errors: those of DiskView::map() and of reading; BaseErrc::kCancelled.
Result<Hash128> layer_digest(DiskView& disk, std::uint64_t seed, std::span<std::byte> buffer,
                             const WorkWatch& watch = {});

}  // namespace vhdxm::vhdx
