#include "transfer/coverage.h"

#include <algorithm>
#include <iterator>

#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

Error broken(const char* where, std::uint64_t offset, std::uint64_t found, std::uint64_t expected) {
  return Error{.code = Errc::kProtocol,
               .where = where,
               .offset = offset,
               .found = found,
               .expected = expected};
}

// Small pieces: no more than one of them is set aside and not used.
constexpr std::pmr::pool_options kRunMemory{.max_blocks_per_chunk = 1024,
                                            .largest_required_pool_block = kCoverageRunBytes};

std::uint64_t end_of_first(const std::pmr::map<std::uint64_t, std::uint64_t>& runs) {
  return runs.empty() || runs.begin()->first != 0 ? 0 : runs.begin()->second;
}

}  // namespace

Coverage::Coverage(std::uint64_t size_bytes, std::size_t runs_max,
                   std::pmr::memory_resource* memory)
    : size_bytes_(size_bytes),
      runs_max_(runs_max),
      memory_(std::make_unique<std::pmr::unsynchronized_pool_resource>(kRunMemory, memory)),
      rest_(memory_.get()),
      set_apart_(memory_.get()) {}

void Coverage::set_apart(const SharedRanges& ranges) {
  apart_ = ranges;
  before_.clear();
  before_.reserve(ranges.size());
  std::uint64_t sum = 0;
  for (const HeldRange& range : ranges) {
    before_.push_back(sum);
    sum += range.length;
  }
}

// Ranges of apart_ that begin at `offset` or before it.
std::size_t Coverage::ranges_before(std::uint64_t offset) const {
  const auto after =
      std::upper_bound(apart_.begin(), apart_.end(), offset,
                       [](std::uint64_t at, const HeldRange& range) { return at < range.offset; });
  return static_cast<std::size_t>(after - apart_.begin());
}

std::uint64_t Coverage::apart_before(std::uint64_t offset) const {
  const std::size_t count = ranges_before(offset);
  if (count == 0) return 0;
  const HeldRange& last = apart_[count - 1];
  return before_[count - 1] + std::min(offset - last.offset, last.length);
}

// False if it overlaps, or is one run too many.
bool Coverage::join(Runs& runs, std::uint64_t begin, std::uint64_t end) {
  const auto next = runs.lower_bound(begin);
  if (next != runs.end() && next->first < end) return false;
  auto previous = runs.end();
  if (next != runs.begin()) {
    previous = std::prev(next);
    if (previous->second > begin) return false;
    if (previous->second != begin) previous = runs.end();
  }
  const bool joins_next = next != runs.end() && next->first == end;
  const bool one_more = previous == runs.end() && !joins_next;
  if (one_more && rest_.size() + set_apart_.size() >= runs_max_) return false;
  if (joins_next) {
    end = next->second;
    runs.erase(next);
  }
  if (previous != runs.end()) {
    previous->second = end;
  } else {
    runs.emplace(begin, end);
  }
  return true;
}

Result<void> Coverage::add(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return {};
  // The sum below cannot wrap: offset <= size and length <= size - offset.
  if (offset > size_bytes_ || length > size_bytes_ - offset) {
    return broken("a range that ends outside the disk, whose size is expected", offset, length,
                  size_bytes_);
  }
  const std::uint64_t end = offset + length;
  std::size_t range = ranges_before(offset);
  for (std::uint64_t at = offset; at < end;) {
    // Either inside the range before `range`, or between that and `range`.
    const bool inside = range > 0 && at < apart_[range - 1].end();
    std::uint64_t stop = end;
    if (inside) {
      stop = std::min(end, apart_[range - 1].end());
    } else if (range < apart_.size()) {
      stop = std::min(end, apart_[range].offset);
    }
    const std::uint64_t apart = apart_before(at);
    const std::uint64_t begin = inside ? apart : at - apart;
    if (!join(inside ? set_apart_ : rest_, begin, begin + (stop - at))) {
      if (rest_.size() + set_apart_.size() >= runs_max_) {
        return broken("more separate ranges than are kept, or one that was accounted for before",
                      at, rest_.size() + set_apart_.size() + 1, runs_max_);
      }
      return broken("a range that was accounted for before, in part; its length is found", at,
                    stop - at, 0);
    }
    covered_ += stop - at;
    at = stop;
    if (range < apart_.size() && at == apart_[range].offset) ++range;
  }
  return {};
}

std::uint64_t Coverage::first_gap() const {
  // Where the ranges that are set apart, and the rest, have their first gaps; in bytes of each.
  const std::uint64_t apart = end_of_first(set_apart_);
  const std::uint64_t rest = end_of_first(rest_);
  std::uint64_t apart_at = size_bytes_;
  std::uint64_t rest_at = rest;
  for (std::size_t i = 0; i < apart_.size(); ++i) {
    const HeldRange& range = apart_[i];
    if (apart >= before_[i] && apart < before_[i] + range.length) {
      apart_at = range.offset + (apart - before_[i]);
    }
    if (range.offset - before_[i] <= rest) rest_at = rest + before_[i] + range.length;
  }
  return std::min({apart_at, rest_at, size_bytes_});
}

}  // namespace vhdxm::transfer
