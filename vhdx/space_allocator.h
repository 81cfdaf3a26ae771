// Which MiBs of a file that is written are free, and when freed ones may be used again.
//
// Spec: [MS-VHDX] 2.1: every object is whole MiBs. Space that a change of the BAT gave up is handed
// out only after that change is durable: until then a crash brings the old owner back.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "base/file.h"
#include "vhdx/format.h"

namespace vhdxm::vhdx {

/// A place for an object.
struct Placement {
  std::uint64_t offset = 0;  ///< Bytes, a multiple of 1 MiB.
  std::uint64_t length = 0;  ///< Bytes, a multiple of 1 MiB.
  bool zeroed = false;       ///< Reads as zero; otherwise it holds what its last owner left.
};

/// Memory: one bit for each MiB of the file, at most 16 MiB.
/// Thread safety: all members may be called from any thread.
class SpaceAllocator {
 public:
  /// Nothing of the file's `file_bytes` is taken yet, but the header section.
  SpaceAllocator(File& file, std::uint64_t file_bytes);

  /// Says that [offset, offset + length) has an owner. False: some of it had one already.
  /// Range: offset <= kFileBytesMax, length <= kFileBytesMax.
  bool take(std::uint64_t offset, std::uint64_t length);

  /// A free place, growing the file when there is none. Units: bytes, a multiple of 1 MiB.
  /// Errors: the file's (ENOSPC); EFBIG at kFileBytesMax.
  Result<Placement> allocate(std::uint64_t length);
  /// A place that nothing durable ever named is free again, at once.
  void give_back(const Placement& placement);

  /// The owner gave this up, in a change that is not durable yet.
  void free_later(std::uint64_t offset, std::uint64_t length);
  struct Freed {
    std::uint64_t offset;
    std::uint64_t length;
  };
  /// What was given up so far: to be taken before the changes themselves are taken for a commit.
  std::vector<Freed> take_freed();
  /// Those changes are durable.
  void release(const std::vector<Freed>& freed);

  /// The size of the file. Units: bytes.
  std::uint64_t file_bytes() const;
  /// Where the last owned MiB ends. Units: bytes.
  std::uint64_t used_end() const;

 private:
  bool is_taken(std::uint64_t mib) const { return (taken_[mib / 64] >> (mib % 64) & 1U) != 0; }
  void set(std::uint64_t first, std::uint64_t count, bool value);
  bool find_run(std::uint64_t count, std::uint64_t& first);
  Result<void> grow_to(std::uint64_t mib_count);

  File& file_;
  mutable std::mutex mutex_;
  // Protected by mutex_.
  std::vector<std::uint64_t> taken_;  ///< A bit each MiB.
  std::uint64_t mib_count_ = 0;       ///< Of the file.
  std::uint64_t fresh_from_ = 0;      ///< MiBs from here on were never written.
  std::uint64_t free_below_fresh_ = 0;
  std::uint64_t search_from_ = 0;
  std::uint64_t no_run_of_ = ~std::uint64_t{0};  ///< No free run of this many below fresh_from_.
  std::vector<Freed> freed_;
};

}  // namespace vhdxm::vhdx
