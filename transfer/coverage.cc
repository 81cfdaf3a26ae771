#include "transfer/coverage.h"

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

}  // namespace

Coverage::Coverage(std::uint64_t size_bytes, std::size_t runs_max)
    : size_bytes_(size_bytes), runs_max_(runs_max) {}

Result<void> Coverage::add(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return {};
  // The sum below cannot wrap: offset <= size and length <= size - offset.
  if (offset > size_bytes_ || length > size_bytes_ - offset) {
    return broken("a range that ends outside the disk, whose size is expected", offset, length,
                  size_bytes_);
  }
  std::uint64_t begin = offset;
  std::uint64_t end = offset + length;
  const auto next = runs_.lower_bound(begin);
  if (next != runs_.end() && next->first < end) {
    return broken("a range that was accounted for before, from the byte found", offset, next->first,
                  end);
  }
  auto previous = runs_.end();
  if (next != runs_.begin()) {
    previous = std::prev(next);
    if (previous->second > begin) {
      return broken("a range that was accounted for before, up to the byte found", offset,
                    previous->second, begin);
    }
    if (previous->second != begin) previous = runs_.end();
  }
  const bool joins_next = next != runs_.end() && next->first == end;
  if (previous == runs_.end() && !joins_next && runs_.size() >= runs_max_) {
    return broken("more separate ranges than are kept", offset, runs_.size() + 1, runs_max_);
  }

  covered_ += length;
  if (joins_next) {
    end = next->second;
    runs_.erase(next);
  }
  if (previous != runs_.end()) {
    previous->second = end;
  } else {
    runs_.emplace(begin, end);
  }
  return {};
}

std::uint64_t Coverage::first_gap() const {
  if (runs_.empty() || runs_.begin()->first != 0) return 0;
  return runs_.begin()->second;
}

}  // namespace vhdxm::transfer
