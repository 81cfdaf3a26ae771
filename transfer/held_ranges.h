// The ranges of a disk that a receiver says it holds, and which of their cells come next.
//
// Both sides keep one: the receiver of what it offers, the sender of what it was told, where it
// bounds what a receiver can say.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "transfer/messages.h"

namespace vhdxm::transfer {

/// Ranges that do not change any more, held once whoever refers to them: there may be 4 MiB.
class SharedRanges {
 public:
  SharedRanges() = default;
  SharedRanges(std::vector<HeldRange> ranges)  // NOLINT: a list is one
      : ranges_(std::make_shared<const std::vector<HeldRange>>(std::move(ranges))) {}
  SharedRanges(std::initializer_list<HeldRange> ranges)
      : SharedRanges(std::vector<HeldRange>(ranges)) {}

  std::span<const HeldRange> all() const {
    return ranges_ ? std::span<const HeldRange>(*ranges_) : std::span<const HeldRange>();
  }
  bool empty() const { return all().empty(); }
  std::size_t size() const { return all().size(); }
  const HeldRange& operator[](std::size_t index) const { return all()[index]; }
  auto begin() const { return all().begin(); }
  auto end() const { return all().end(); }

 private:
  std::shared_ptr<const std::vector<HeldRange>> ranges_;
};

/// Invariant: ranges in order, apart from each other, inside the disk, of whole cells (the last
/// cell of the disk may be short), at most kHeldRangesMax.
class HeldRangeList {
 public:
  /// Of a disk of so many bytes.
  explicit HeldRangeList(std::uint64_t size_bytes = 0) : size_bytes_(size_bytes) {}
  /// Requires: `ranges` keep the invariant.
  HeldRangeList(std::uint64_t size_bytes, SharedRanges ranges)
      : size_bytes_(size_bytes), done_(std::move(ranges)) {}

  /// Appends a range; false, and nothing is changed, if that would break the invariant.
  /// Requires: before share().
  bool add(const HeldRange& range);
  /// No range is added from now on; all that were, for others to refer to.
  const SharedRanges& share();

  // After share().
  /// The cells that come next and stand side by side: the rest of a range. Empty at the end.
  HeldRange next() const;
  /// Passes `count` cells from `first_cell` on; false if they are not of next().
  bool take_cells(std::uint64_t first_cell, std::uint64_t count);

 private:
  std::uint64_t size_bytes_;
  std::vector<HeldRange> growing_;  ///< Until share().
  SharedRanges done_;
  std::size_t at_ = 0;          ///< The range that next() is of.
  std::uint64_t taken_to_ = 0;  ///< Bytes: where in it next() begins, or before it.
};

}  // namespace vhdxm::transfer
