#include "transfer/memory_budget.h"

#include <algorithm>

#include "transfer/compressor_pool.h"
#include "transfer/coverage.h"

namespace vhdxm::transfer {
namespace {

static_assert(kCoverageRunsMax * kCoverageRunBytes + 256 * 1024 + 128 * 1024 <=
              kReceiverJobOverheadBytes);

constexpr std::uint64_t kCreditAtTheEndsBytes = 32 * 1024 * 1024;
constexpr std::uint64_t kCreditPerMemory = 2;
// Of any job; ends the search for how many fit.
constexpr std::uint64_t kMostStreams = 1024;
// No link holds more than a tebibyte; keeps the product from wrapping.
constexpr std::uint64_t kMemoryOfUse = std::uint64_t{1} << 39;

std::uint64_t less(std::uint64_t from, std::uint64_t bytes) {
  return from - std::min(from, bytes);
}

}  // namespace

std::uint64_t credit_for(std::uint64_t memory_bytes) {
  return kCreditAtTheEndsBytes + kCreditPerMemory * std::min(memory_bytes, kMemoryOfUse);
}

std::uint64_t streams_within(std::uint64_t bytes, std::uint64_t extent_bytes) {
  return std::max<std::uint64_t>(bytes / (extent_bytes + kStreamOverheadBytes), 1);
}

std::uint64_t ReceiverBudget::job_bytes(std::uint64_t streams) const {
  return kReceiverJobOverheadBytes + streams * (extent_bytes + kStreamOverheadBytes) +
         std::min(streams, kUnpackedBuffersMax) * extent_bytes;
}

std::uint64_t ReceiverBudget::streams(std::uint64_t bytes_of_job) const {
  std::uint64_t fit = 1;
  while (job_bytes(fit + 1) <= bytes_of_job && fit < kMostStreams) ++fit;
  return fit;
}

std::uint64_t ReceiverBudget::held_ranges(std::uint64_t bytes_of_job, std::uint64_t streams) const {
  const std::uint64_t further = less(bytes_of_job, job_bytes(streams)) / 2 / kHeldRangeBytes;
  return std::min<std::uint64_t>(kHeldRangesMin + further, kHeldRangesMax);
}

std::uint64_t ReceiverBudget::job_bytes(std::uint64_t streams, std::uint64_t ranges) const {
  return job_bytes(streams) + less(ranges, kHeldRangesMin) * kHeldRangeBytes;
}

SenderBudget::Shares SenderBudget::shares() const {
  const std::uint64_t room = less(memory_bytes, kSenderOverheadBytes);
  Shares out;
  std::uint64_t taken = 0;
  if (compressors_wanted > 0) {
    for (const int level : levels) {
      out.level_max = level;
      const std::uint64_t each = CompressorPool::memory_bytes(extent_bytes, level);
      out.compressors = std::clamp<std::uint64_t>(room / 2 / each, 1, compressors_wanted);
      taken = out.compressors * each;
      if (out.compressors == compressors_wanted) break;
    }
  }
  out.streams = std::min(streams_wanted, streams_within(less(room, taken), extent_bytes));
  return out;
}

unsigned ReceiverBudget::jobs() const {
  const std::uint64_t fit = less(memory_bytes, kReceiverOverheadBytes) / job_bytes(1);
  return static_cast<unsigned>(
      std::clamp<std::uint64_t>(fit, 1, std::max<std::uint64_t>(jobs_max, 1)));
}

std::uint64_t ReceiverBudget::next_share(std::uint64_t taken, unsigned running) const {
  const std::uint64_t left = less(less(memory_bytes, kReceiverOverheadBytes), taken);
  const std::uint64_t after = jobs() > running + 1 ? jobs() - running - 1 : 0;
  const std::uint64_t unreserved = less(left, after * job_bytes(1));
  // The last one there can be has nobody to leave anything to.
  const std::uint64_t wanted = after == 0 ? left : left / 2;
  return std::max(std::min(wanted, unreserved), job_bytes(1));
}

}  // namespace vhdxm::transfer
