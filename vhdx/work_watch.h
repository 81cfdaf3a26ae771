// How work over a whole disk is followed, and stopped.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "base/result.h"

namespace vhdxm::vhdx {

/// What a caller hands to work that takes a while. Both members may be left empty.
struct WorkWatch {
  /// Called from the working thread, every few MiB and once at the end.
  /// Units: bytes of the disk that are settled, and in all.
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress = {};
  /// When it becomes true, the work ends with BaseErrc::kCancelled.
  const std::atomic<bool>* cancel = nullptr;

  /// Reports, and says whether to go on.
  Result<void> at(std::uint64_t done_bytes, std::uint64_t total_bytes) const {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) {
      return Error{.code = BaseErrc::kCancelled, .where = "stopped", .offset = done_bytes};
    }
    if (progress) progress(done_bytes, total_bytes);
    return {};
  }
};

}  // namespace vhdxm::vhdx
