// Pages of a disk in use as both sides compare them: VerifyRange and RangeDiffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "transfer/messages.h"
#include "vhdx/disk_writer.h"

namespace vhdxm::transfer {

/// The low half of XXH3-128 of each page, with the job's seed; the last page may be short.
std::vector<std::uint64_t> page_hashes(std::span<const std::byte> bytes, std::uint64_t seed);

/// Which pages of the range `disk` reads otherwise than `range` says, from 0 on, in order. Where
/// the other side has nothing and this one has nothing either, nothing is read.
/// `scratch`: at least a page, whole pages. Requires: the range lies inside the disk. Errors: the
/// disk's. Thread safety: as the disk's.
Result<std::vector<std::uint32_t>> differing_pages(vhdx::DiskWriter& disk, const VerifyRange& range,
                                                   std::uint64_t seed,
                                                   std::span<std::byte> scratch);

}  // namespace vhdxm::transfer
