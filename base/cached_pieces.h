// Which parts of a file the kernel has in its page cache.
//
// Asked by cachestat(2) where the kernel has it (6.5) and all or nothing is cached, else by
// mincore(2), which takes 0.1 us a page. Not preadv2(RWF_NOWAIT): what that does not find, it
// begins to read into the cache. To a process that neither owns the file nor may write to it,
// mincore calls everything cached.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace vhdxm {

/// The state of one window when it was made; it may have changed since. Thread safety: one thread.
class CachedPieces {
 public:
  /// When a piece counts as cached.
  enum class Rule : std::uint8_t { kAllPages, kAnyPage };
  /// Reading runs of pieces costs a call each, so pieces are longer than pages.
  static constexpr std::size_t kPieceBytes = 64 * 1024;
  static constexpr std::size_t kWindowBytes = 4 * 1024 * 1024;

  /// [offset, offset + length) of the file, in pieces that count from `offset`. Requires:
  /// 0 < length <= kWindowBytes. Where the kernel does not tell, nothing is cached.
  CachedPieces(int fd, std::uint64_t offset, std::size_t length, Rule rule = Rule::kAllPages);

  struct Run {
    bool cached = false;
    std::size_t length = 0;  ///< > 0; it ends where the state changes, or the window ends.
  };
  /// Requires: at < length; both in bytes from the window's beginning.
  Run run_at(std::size_t at) const;

 private:
  const std::size_t length_;
  std::array<bool, kWindowBytes / kPieceBytes> cached_{};
};

}  // namespace vhdxm
