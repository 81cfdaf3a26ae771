#include "transfer/busy_ranges.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace vhdxm::transfer {

BusyRanges::Run BusyRanges::run(std::uint64_t offset, std::uint64_t length) const {
  const auto next = ends_.upper_bound(offset);
  if (next != ends_.begin()) {
    const auto before = std::prev(next);
    if (before->second > offset) {
      return {.length = std::min(length, before->second - offset), .busy = true};
    }
  }
  if (next == ends_.end()) return {.length = length, .busy = false};
  return {.length = std::min(length, next->first - offset), .busy = false};
}

void BusyRanges::add(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return;
  VHDXM_CHECK(!overlaps(offset, length));
  ends_.emplace(offset, offset + length);
}

void BusyRanges::remove(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = offset + length;
  auto at = ends_.upper_bound(offset);
  if (at != ends_.begin() && std::prev(at)->second > offset) --at;
  while (at != ends_.end() && at->first < end) {
    const auto [begin, its_end] = *at;
    at = ends_.erase(at);
    if (begin < offset) ends_.emplace(begin, offset);
    if (its_end > end) ends_.emplace(end, its_end);
  }
}

}  // namespace vhdxm::transfer
