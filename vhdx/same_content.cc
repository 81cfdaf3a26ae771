#include "vhdx/same_content.h"

#include <algorithm>
#include <vector>

namespace vhdxm::vhdx {
namespace {

constexpr std::uint64_t kSameBytes = 64 * kKiB;

bool same_place(const Extent& a, const Extent& b) {
  return a.virtual_offset == b.virtual_offset && a.length == b.length && a.kind == b.kind &&
         a.file_offset == b.file_offset;
}

Result<bool> same_bytes(File& before, File& after, std::uint64_t begin, std::uint64_t end) {
  std::vector<std::byte> old_bytes(kSameBytes);
  std::vector<std::byte> new_bytes(kSameBytes);
  while (begin < end) {
    const auto count = static_cast<std::size_t>(std::min(end - begin, kSameBytes));
    const auto was = std::span(old_bytes).first(count);
    const auto is = std::span(new_bytes).first(count);
    VHDXM_TRY_VOID(read_exact_at(before, begin, was, "payload"));
    VHDXM_TRY_VOID(read_exact_at(after, begin, is, "payload"));
    if (!std::equal(was.begin(), was.end(), is.begin())) return false;
    begin += count;
  }
  return true;
}

/// Compares what of [begin, end) of the files was changed.
Result<bool> same_where_changed(File& before, File& after, std::span<const FileRange> changed,
                                std::uint64_t begin, std::uint64_t end) {
  auto range =
      std::upper_bound(changed.begin(), changed.end(), begin,
                       [](std::uint64_t offset, const FileRange& one) { return offset < one.end; });
  for (; range != changed.end() && range->begin < end; ++range) {
    VHDXM_TRY(const bool same,
              same_bytes(before, after, std::max(begin, range->begin), std::min(end, range->end)));
    if (!same) return false;
  }
  return true;
}

}  // namespace

Result<bool> same_content(Layer& before, Layer& after, std::span<const FileRange> changed) {
  if (before.description() != after.description()) return false;
  const std::uint64_t size = before.geometry().virtual_size_bytes;
  std::vector<Extent> was;
  std::vector<Extent> is;
  for (std::uint64_t at = 0; at < size;) {
    was.clear();
    is.clear();
    VHDXM_TRY(const std::uint64_t was_to, before.map(at, size - at, was));
    VHDXM_TRY(const std::uint64_t is_to, after.map(at, size - at, is));
    if (was_to != is_to || !std::equal(was.begin(), was.end(), is.begin(), is.end(), same_place)) {
      return false;
    }
    for (const Extent& extent : was) {
      if (extent.kind != ExtentKind::kData) continue;
      VHDXM_TRY(const bool same,
                same_where_changed(before.file(), after.file(), changed, extent.file_offset,
                                   extent.file_offset + extent.length));
      if (!same) return false;
    }
    at = was_to;
  }
  return true;
}

}  // namespace vhdxm::vhdx
