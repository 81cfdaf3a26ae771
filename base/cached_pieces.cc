#include "base/cached_pieces.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/check.h"

namespace vhdxm {

namespace {

// cachestat(2), since Linux 6.5: one number on every architecture, and not yet in every C library.
constexpr long kCachestatCall = 451;
struct CachestatRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};
struct Cachestat {
  std::uint64_t cached = 0;
  std::uint64_t dirty = 0;
  std::uint64_t in_writeback = 0;
  std::uint64_t evicted = 0;
  std::uint64_t recently_evicted = 0;
};

std::size_t page_bytes() {
  static const auto kBytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return kBytes;
}

// Whether all of the range is cached, or none of it; nothing if some is, or the kernel cannot tell.
std::optional<bool> all_or_none_cached(int fd, std::uint64_t offset, std::size_t length) {
  CachestatRange range{.offset = offset, .length = length};
  Cachestat pages;
  if (::syscall(kCachestatCall, fd, &range, &pages, 0) != 0) return std::nullopt;
  if (pages.cached == 0) return false;
  if (pages.cached * page_bytes() >= length) return true;
  return std::nullopt;
}

}  // namespace

CachedPieces::CachedPieces(int fd, std::uint64_t offset, std::size_t length, Rule rule)
    : length_(length) {
  VHDXM_CHECK(length > 0 && length <= kWindowBytes);
  if (const auto all = all_or_none_cached(fd, offset, length)) {
    cached_.fill(*all);
    return;
  }
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
    const auto* const first = pages.data() + piece * kPieceBytes / page_bytes();
    const auto* const last = pages.data() + (end + page_bytes() - 1) / page_bytes();
    const auto is_cached = [](unsigned char page) { return (page & 1) != 0; };
    cached_.at(piece) = rule == Rule::kAllPages ? std::all_of(first, last, is_cached)
                                                : std::any_of(first, last, is_cached);
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
