#include "vhdx/content_compare.h"

#include <algorithm>
#include <cstring>

#include "base/buffer_pool.h"
#include "base/hash128.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::size_t kComparedBytes = 1 << 20;
/// Zero runs can be huge; the watch is asked at least this often.
constexpr std::uint64_t kStepBytes = std::uint64_t{1} << 40;

/// The first place where two ranges of one length differ; their length if they do not.
std::size_t first_mismatch(std::span<const std::byte> a, std::span<const std::byte> b) {
  if (std::memcmp(a.data(), b.data(), a.size()) == 0) return a.size();
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
}

std::size_t first_nonzero(std::span<const std::byte> bytes) {
  if (all_zero(bytes)) return bytes.size();
  return static_cast<std::size_t>(
      std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; }) -
      bytes.begin());
}

}  // namespace

Result<Comparison> compare_content(ContentSource& first, ContentSource& second,
                                   const WorkWatch& watch) {
  Comparison result{.first_difference = std::nullopt,
                    .first_size_bytes = first.size_bytes(),
                    .second_size_bytes = second.size_bytes()};
  const std::uint64_t common = std::min(result.first_size_bytes, result.second_size_bytes);
  BufferPool pool(kComparedBytes, 2);
  const Buffer first_buffer = pool.acquire();
  const Buffer second_buffer = pool.acquire();
  RunCursor first_runs(first);
  RunCursor second_runs(second);
  for (std::uint64_t offset = 0; offset < common;) {
    VHDXM_TRY_VOID(watch.at(offset, common));
    VHDXM_TRY(const ContentRun a, first_runs.at(offset));
    VHDXM_TRY(const ContentRun b, second_runs.at(offset));
    std::uint64_t length = std::min({a.length, b.length, common - offset});
    if (a.is_zero && b.is_zero) {
      offset += std::min(length, kStepBytes);
      continue;
    }
    length = std::min<std::uint64_t>(length, kComparedBytes);
    const auto first_piece = first_buffer.bytes().first(static_cast<std::size_t>(length));
    const auto second_piece = second_buffer.bytes().first(static_cast<std::size_t>(length));
    if (!a.is_zero) VHDXM_TRY_VOID(first.read(offset, first_piece));
    if (!b.is_zero) VHDXM_TRY_VOID(second.read(offset, second_piece));
    const std::size_t equal = a.is_zero   ? first_nonzero(second_piece)
                              : b.is_zero ? first_nonzero(first_piece)
                                          : first_mismatch(first_piece, second_piece);
    if (equal != length) {
      result.first_difference = offset + equal;
      return result;
    }
    offset += length;
  }
  VHDXM_TRY_VOID(watch.at(common, common));
  return result;
}

}  // namespace vhdxm::vhdx
