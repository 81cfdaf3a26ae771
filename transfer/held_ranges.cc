#include "transfer/held_ranges.h"

#include <algorithm>

namespace vhdxm::transfer {

bool HeldRangeList::add(const HeldRange& range) {
  // The sum below cannot wrap: offset <= size and length <= size - offset.
  if (range.length == 0 || range.offset > size_bytes_ ||
      range.length > size_bytes_ - range.offset || ranges_.size() >= kHeldRangesMax) {
    return false;
  }
  const bool whole_cells = range.offset % kCellBytes == 0 &&
                           (range.end() % kCellBytes == 0 || range.end() == size_bytes_);
  // Ranges that touch are one: so a cell's neighbours are known without looking further.
  if (!whole_cells || (!ranges_.empty() && range.offset <= ranges_.back().end())) return false;
  ranges_.push_back(range);
  return true;
}

HeldRange HeldRangeList::next() const {
  if (at_ == ranges_.size()) return {};
  const std::uint64_t begin = std::max(taken_to_, ranges_[at_].offset);
  return {.offset = begin, .length = ranges_[at_].end() - begin};
}

bool HeldRangeList::take_cells(std::uint64_t first_cell, std::uint64_t count) {
  const HeldRange rest = next();
  if (count == 0 || rest.length == 0) return false;
  const std::uint64_t cells = (rest.length + kCellBytes - 1) / kCellBytes;
  if (first_cell != rest.offset / kCellBytes || count > cells) return false;
  if (count == cells) {
    ++at_;
  } else {
    taken_to_ = rest.offset + count * kCellBytes;
  }
  return true;
}

}  // namespace vhdxm::transfer
