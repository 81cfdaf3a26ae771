// Which bytes of a disk are accounted for: every one must be, and none twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "base/result.h"

namespace vhdxm::transfer {

/// Thread safety: none; the caller locks.
class Coverage {
 public:
  /// Units: bytes. `runs_max` bounds memory whatever a peer sends (about 48 bytes a run).
  explicit Coverage(std::uint64_t size_bytes, std::size_t runs_max = 1 << 20);

  /// Errors: Errc::kProtocol for a range outside the disk, one that overlaps an earlier one, or one
  /// run too many.
  Result<void> add(std::uint64_t offset, std::uint64_t length);
  bool complete() const { return covered_ == size_bytes_; }
  std::uint64_t covered() const { return covered_; }
  /// The first byte not accounted for; size if complete.
  std::uint64_t first_gap() const;

 private:
  std::uint64_t size_bytes_;
  std::size_t runs_max_;
  std::uint64_t covered_ = 0;
  std::map<std::uint64_t, std::uint64_t> runs_;  ///< begin -> end, joined.
};

}  // namespace vhdxm::transfer
