// What a copy and a digest need to know of a disk, whether it is one file or a chain shown as one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "vhdx/description.h"
#include "vhdx/extent.h"

namespace vhdxm::vhdx {

/// Thread safety: const members, map() and payload_states() may be called from several threads.
class DiskView {
 public:
  virtual ~DiskView() = default;

  virtual const Description& description() const = 0;
  const Geometry& geometry() const { return description().geometry; }

  /// Maps [offset, offset + length): appends to `out`, in order, without gaps, neighbours of one
  /// kind and place joined, at most `extents_max` extents. Returns where the mapped range ends.
  /// Of a block without data all that is asked for is of one kind.
  /// Requires: offset < virtual size, multiples of the logical sector size.
  /// Errors: BAT entries and bitmaps that break a rule, by name and offset.
  virtual Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length,
                                    std::vector<Extent>& out, std::size_t extents_max = 4096) = 0;

  /// The states of `out.size()` payload blocks from `first_block` on.
  virtual Result<void> payload_states(std::uint64_t first_block, std::span<PayloadState> out) = 0;
};

}  // namespace vhdxm::vhdx
