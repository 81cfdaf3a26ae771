#include "transfer/held_ranges.h"

#include <algorithm>

namespace vhdxm::transfer {

bool HeldRangeList::add(const HeldRange& range) {
  // The sum below cannot wrap: offset <= size and length <= size - offset.
  if (range.length == 0 || range.offset > size_bytes_ ||
      range.length > size_bytes_ - range.offset || growing_.size() >= kHeldRangesMax) {
    return false;
  }
  const bool whole_cells = range.offset % kCellBytes == 0 &&
                           (range.end() % kCellBytes == 0 || range.end() == size_bytes_);
  // Ranges that touch are one: so a cell's neighbours are known without looking further.
  if (!whole_cells || (!growing_.empty() && range.offset <= growing_.back().end())) return false;
  growing_.push_back(range);
  return true;
}

const SharedRanges& HeldRangeList::share() {
  if (!growing_.empty()) done_ = SharedRanges(std::exchange(growing_, {}));
  return done_;
}

HeldRange HeldRangeList::next() const {
  if (at_ == done_.size()) return {};
  const std::uint64_t begin = std::max(taken_to_, done_[at_].offset);
  return {.offset = begin, .length = done_[at_].end() - begin};
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
