#include "transfer/mirrored_writes.h"

#include <algorithm>

#include "base/check.h"
#include "transfer/dirty_map.h"

namespace vhdxm::transfer {

std::uint64_t MirroredWrites::add(std::uint32_t disk, std::uint64_t offset, std::uint64_t length,
                                  std::uint64_t disk_bytes, std::uint64_t part_bytes) {
  VHDXM_CHECK(length > 0 && offset < disk_bytes && length <= disk_bytes - offset);
  const std::uint64_t begin = offset / kDirtyPageBytes * kDirtyPageBytes;
  const std::uint64_t end = std::min(
      disk_bytes, (offset + length + kDirtyPageBytes - 1) / kDirtyPageBytes * kDirtyPageBytes);
  ++last_;
  left_.emplace(last_, end - begin);
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t part_end = std::min(end, (at / part_bytes + 1) * part_bytes);
    waiting_.push_back({.write = last_, .disk = disk, .offset = at, .length = part_end - at});
    at = part_end;
  }
  return last_;
}

void MirroredWrites::drop(std::uint64_t write) {
  left_.erase(write);
  std::erase_if(waiting_, [&](const Part& part) { return part.write == write; });
}

void MirroredWrites::arrived(std::uint64_t write, std::uint64_t length) {
  const auto left = left_.find(write);
  if (left == left_.end()) return;
  VHDXM_CHECK(left->second >= length);
  left->second -= length;
}

void MirroredWrites::came_back(const Part& part) {
  if (left_.contains(part.write)) waiting_.push_front(part);
}

bool MirroredWrites::done(std::uint64_t write) const {
  const auto left = left_.find(write);
  return left != left_.end() && left->second == 0;
}

bool MirroredWrites::waits_up_to(std::uint64_t write) const {
  return std::any_of(waiting_.begin(), waiting_.end(),
                     [&](const Part& part) { return part.write <= write; });
}

}  // namespace vhdxm::transfer
