// The ranges of a disk that a receiver says it holds, and which of their cells come next.
//
// Both sides keep one: the receiver of what it offers, the sender of what it was told, where it
// bounds what a receiver can say.
#pragma once

#include <cstdint>
#include <vector>

#include "transfer/messages.h"

namespace vhdxm::transfer {

/// Invariant: ranges in order, apart from each other, inside the disk, of whole cells (the last
/// cell of the disk may be short), at most kHeldRangesMax.
class HeldRangeList {
 public:
  /// Of a disk of so many bytes.
  explicit HeldRangeList(std::uint64_t size_bytes = 0) : size_bytes_(size_bytes) {}

  /// Appends a range; false, and nothing is changed, if that would break the invariant.
  bool add(const HeldRange& range);
  const std::vector<HeldRange>& ranges() const { return ranges_; }

  /// The cells that come next and stand side by side: the rest of a range. Empty at the end.
  HeldRange next() const;
  /// Passes `count` cells from `first_cell` on; false if they are not of next().
  bool take_cells(std::uint64_t first_cell, std::uint64_t count);

 private:
  std::uint64_t size_bytes_;
  std::vector<HeldRange> ranges_;
  std::size_t at_ = 0;          ///< The range that next() is of.
  std::uint64_t taken_to_ = 0;  ///< Bytes: where in it next() begins, or before it.
};

}  // namespace vhdxm::transfer
