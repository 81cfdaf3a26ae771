#include "vhdx/bitmap_bits.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "vhdx/format.h"

namespace vhdxm::vhdx {
namespace {

constexpr const char* kBitmapWhere = "sector bitmap block, [MS-VHDX] 2.4";
using Piece = std::array<std::byte, 4096>;

/// Bits [first, end) of one byte. Requires: first < end <= 8.
std::byte mask(std::uint64_t first, std::uint64_t end) {
  return static_cast<std::byte>((0xffU << first) & (0xffU >> (8 - end)));
}

/// The bits of byte `at` that lie in [first, end); both are counted from the block's start.
std::byte mask_in_byte(std::uint64_t at, std::uint64_t first, std::uint64_t end) {
  const std::uint64_t begin = at * 8;
  return mask(std::max(first, begin) - begin, std::min(end, begin + 8) - begin);
}

}  // namespace

Result<void> write_bits(File& file, std::uint64_t block_offset, std::uint64_t first,
                        std::uint64_t count, bool value) {
  if (count == 0) return {};
  const std::uint64_t end = first + count;
  VHDXM_CHECK(end <= kSectorsPerBitmapBlock);
  Piece bytes;
  for (std::uint64_t at = first / 8; at < (end + 7) / 8;) {
    const auto length = std::min<std::uint64_t>(bytes.size(), (end + 7) / 8 - at);
    const auto piece = std::span(bytes).first(static_cast<std::size_t>(length));
    std::fill(piece.begin(), piece.end(), value ? std::byte{0xff} : std::byte{0});
    // Only the first and the last byte of the range hold bits that are not ours.
    for (const std::uint64_t edge : {at, at + length - 1}) {
      const std::byte ours = mask_in_byte(edge, first, end);
      if (ours == std::byte{0xff}) continue;
      std::array<std::byte, 1> old;
      VHDXM_TRY_VOID(read_exact_at(file, block_offset + edge, old, kBitmapWhere));
      const std::byte kept = old[0] & ~ours;
      piece[static_cast<std::size_t>(edge - at)] = value ? kept | ours : kept;
    }
    VHDXM_TRY_VOID(file.write_at(block_offset + at, piece));
    at += length;
  }
  return {};
}

Result<bool> all_bits_set(File& file, std::uint64_t block_offset, std::uint64_t first,
                          std::uint64_t count) {
  if (count == 0) return true;
  const std::uint64_t end = first + count;
  VHDXM_CHECK(end <= kSectorsPerBitmapBlock);
  Piece bytes;
  for (std::uint64_t at = first / 8; at < (end + 7) / 8;) {
    const auto length = std::min<std::uint64_t>(bytes.size(), (end + 7) / 8 - at);
    const auto piece = std::span(bytes).first(static_cast<std::size_t>(length));
    VHDXM_TRY_VOID(read_exact_at(file, block_offset + at, piece, kBitmapWhere));
    for (std::uint64_t i = 0; i < length; ++i) {
      const std::byte ours = mask_in_byte(at + i, first, end);
      if ((piece[static_cast<std::size_t>(i)] & ours) != ours) return false;
    }
    at += length;
  }
  return true;
}

Result<void> read_bits(File& file, std::uint64_t block_offset, std::uint64_t first,
                       std::uint64_t count, std::vector<bool>& out) {
  const std::uint64_t end = first + count;
  VHDXM_CHECK(end <= kSectorsPerBitmapBlock);
  Piece bytes;
  for (std::uint64_t bit = first; bit < end;) {
    const std::uint64_t at = bit / 8;
    const auto length = std::min<std::uint64_t>(bytes.size(), (end + 7) / 8 - at);
    VHDXM_TRY_VOID(read_exact_at(file, block_offset + at,
                                 std::span(bytes).first(static_cast<std::size_t>(length)),
                                 kBitmapWhere));
    for (const std::uint64_t stop = std::min(end, (at + length) * 8); bit < stop; ++bit) {
      const std::byte byte = bytes[static_cast<std::size_t>(bit / 8 - at)];
      out.push_back((byte >> (bit % 8) & std::byte{1}) != std::byte{0});
    }
  }
  return {};
}

}  // namespace vhdxm::vhdx
