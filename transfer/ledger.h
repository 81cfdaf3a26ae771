// The sum, mod 2^128, over everything sent or applied for one disk.
//
// Both sides add an entry a frame; equal sums prove that everything sent was applied exactly once.
// The order does not matter, so streams need none.
#pragma once

#include <cstdint>

#include "base/hash128.h"
#include "transfer/frame.h"

namespace vhdxm::transfer {

class Ledger {
 public:
  explicit Ledger(std::uint64_t seed) : seed_(seed) {}

  /// Adds XXH3-128, with the job's seed, of {u32 pass, u32 kind, u64 offset, u64 raw length,
  /// u64 hash low, u64 hash high}.
  void add(const FrameHeader& frame);
  /// Adds all entries of another ledger of the same job.
  void merge(const Ledger& other);

  const Hash128& sum() const { return sum_; }
  std::uint64_t entries() const { return entries_; }
  std::uint64_t raw_bytes() const { return raw_bytes_; }

 private:
  std::uint64_t seed_;
  Hash128 sum_;
  std::uint64_t entries_ = 0;
  std::uint64_t raw_bytes_ = 0;
};

}  // namespace vhdxm::transfer
