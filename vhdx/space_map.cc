#include "vhdx/space_map.h"

#include <algorithm>

namespace vhdxm::vhdx {

SpaceMap::SpaceMap(std::uint64_t file_bytes)
    : taken_(static_cast<std::size_t>((std::min(file_bytes, kFileBytesMax) + kMiB - 1) / kMiB)) {}

std::size_t SpaceMap::clip(std::uint64_t offset) const {
  return static_cast<std::size_t>(std::min<std::uint64_t>(offset / kMiB, taken_.size()));
}

std::optional<std::string> SpaceMap::take_named(const std::string& name, std::uint64_t begin,
                                                std::uint64_t length) {
  const std::uint64_t end = begin + length;
  std::optional<std::string> other;
  for (const Named& named : named_) {
    if (!other && begin < named.end && named.begin < end) other = named.name;
  }
  named_.push_back({name, begin, end});
  (void)take(begin, length);
  return other;
}

std::optional<std::uint64_t> SpaceMap::take(std::uint64_t begin, std::uint64_t length) {
  const auto taken = first_taken(begin, length);
  std::fill(taken_.begin() + static_cast<std::ptrdiff_t>(clip(begin)),
            taken_.begin() + static_cast<std::ptrdiff_t>(clip(begin + length)), true);
  return taken;
}

std::optional<std::uint64_t> SpaceMap::first_taken(std::uint64_t begin,
                                                   std::uint64_t length) const {
  const auto first = taken_.begin() + static_cast<std::ptrdiff_t>(clip(begin));
  const auto last = taken_.begin() + static_cast<std::ptrdiff_t>(clip(begin + length));
  const auto found = std::find(first, last, true);
  if (found == last) return std::nullopt;
  return static_cast<std::uint64_t>(found - taken_.begin()) * kMiB;
}

std::optional<std::string> SpaceMap::name_at(std::uint64_t offset) const {
  for (const Named& named : named_) {
    if (named.begin <= offset && offset < named.end) return named.name;
  }
  return std::nullopt;
}

SpaceMap::Unused SpaceMap::unused() const {
  const auto count = std::count(taken_.begin(), taken_.end(), false);
  const auto first = std::find(taken_.begin(), taken_.end(), false);
  return {.bytes = static_cast<std::uint64_t>(count) * kMiB,
          .first_offset = static_cast<std::uint64_t>(first - taken_.begin()) * kMiB};
}

}  // namespace vhdxm::vhdx
