#include "base/cached_pieces.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"

namespace vhdxm {

CachedPieces::CachedPieces(int fd, std::uint64_t offset, std::size_t length) : length_(length) {
  VHDXM_CHECK(length > 0 && length <= kWindowBytes);
  static const auto kPageBytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  // Never touched: only a place to ask about.
  void* const place =
      ::mmap(nullptr, length, PROT_NONE, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (place == MAP_FAILED) return;
  // One a page, and a page of the smallest size that there is.
  std::array<unsigned char, kWindowBytes / 4096> pages{};
  const bool told = ::mincore(place, length, pages.data()) == 0;
  ::munmap(place, length);
  if (!told) return;
  for (std::size_t piece = 0; piece * kPieceBytes < length; ++piece) {
    const std::size_t end = std::min(length, (piece + 1) * kPieceBytes);
    const auto* const first = pages.data() + piece * kPieceBytes / kPageBytes;
    const auto* const last = pages.data() + (end + kPageBytes - 1) / kPageBytes;
    cached_.at(piece) =
        std::all_of(first, last, [](unsigned char page) { return (page & 1) != 0; });
  }
}

CachedPieces::Run CachedPieces::run_at(std::size_t at) const {
  VHDXM_CHECK(at < length_);
  const std::size_t first = at / kPieceBytes;
  std::size_t end = first + 1;
  while (end * kPieceBytes < length_ && cached_.at(end) == cached_.at(first)) ++end;
  return {.cached = cached_.at(first), .length = std::min(length_, end * kPieceBytes) - at};
}

}  // namespace vhdxm
