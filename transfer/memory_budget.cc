#include "transfer/memory_budget.h"

#include <algorithm>

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kCreditAtTheEndsBytes = 32 * 1024 * 1024;
constexpr std::uint64_t kCreditPerMemory = 2;
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
  return kReceiverJobOverheadBytes + streams * (extent_bytes + kStreamOverheadBytes);
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
