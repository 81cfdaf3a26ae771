// Which bytes of a disk are accounted for: every one must be, and none twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <memory_resource>
#include <vector>

#include "base/result.h"
#include "transfer/held_ranges.h"

namespace vhdxm::transfer {

/// Separate runs that are kept of a disk. A sender goes through what is held, and through the rest,
/// in the order of the disk, and has at most 16384 frames that are not acknowledged, those that it
/// sends again among them (transfer/extent_queue.cc), and a batch of 80 for each of 64 streams: so
/// many gaps it can leave, and no more.
inline constexpr std::size_t kCoverageRunsMax = 24 * 1024;
/// What a run costs in memory. Bytes.
inline constexpr std::size_t kCoverageRunBytes = 48;

/// Thread safety: none; the caller locks.
class Coverage {
 public:
  /// Units: bytes. `runs_max` bounds memory whatever a peer sends; `memory` is where it is from.
  explicit Coverage(std::uint64_t size_bytes, std::size_t runs_max = kCoverageRunsMax,
                    std::pmr::memory_resource* memory = std::pmr::new_delete_resource());

  /// Ranges that come in an order of their own: between them and the rest no gap counts as one.
  /// In order, apart, inside the disk. To be called before add().
  void set_apart(const SharedRanges& ranges);

  /// Errors: Errc::kProtocol for a range outside the disk, one that overlaps an earlier one, or one
  /// run too many; what a failed call leaves is of no use.
  Result<void> add(std::uint64_t offset, std::uint64_t length);
  bool complete() const { return covered_ == size_bytes_; }
  std::uint64_t covered() const { return covered_; }
  /// The first byte not accounted for; size if complete.
  std::uint64_t first_gap() const;

 private:
  /// Bytes, counted without those of the other side: begin -> end, joined.
  using Runs = std::pmr::map<std::uint64_t, std::uint64_t>;
  std::uint64_t apart_before(std::uint64_t offset) const;
  std::size_t ranges_before(std::uint64_t offset) const;
  bool join(Runs& runs, std::uint64_t begin, std::uint64_t end);

  std::uint64_t size_bytes_;
  std::size_t runs_max_;
  std::uint64_t covered_ = 0;
  SharedRanges apart_;
  std::vector<std::uint64_t> before_;  ///< Bytes of apart_ before each of its ranges.
  /// A run is 48 bytes of it; from malloc() it would be 64.
  std::unique_ptr<std::pmr::unsynchronized_pool_resource> memory_;
  Runs rest_;
  Runs set_apart_;
};

}  // namespace vhdxm::transfer
