// What a host can do, measured: for `advise` (docs/compression.md).
#pragma once

#include <atomic>
#include <cstdint>

#include "base/directory.h"

namespace vhdxm::transfer {

/// A receiver makes a disk that arrives durable each time that so many bytes of payload were
/// written: so far a power loss can throw a job back.
inline constexpr std::uint64_t kSyncEveryBytes = 256 * 1024 * 1024;

struct WriteMeasure {
  std::uint64_t bytes_per_second = 0;  ///< 0: could not be tried.
  std::uint64_t processor_ns_per_mib = 0;
};

/// How fast the folder's file system takes what arrives: extents written as a disk is, over a few
/// threads, and made durable. Into a file without a name, so that nothing is left whatever happens.
/// Takes at most about half a second and 256 MiB. Not tried if the file system has no files without
/// names, or too little room. `cancel` ends it early.
/// Errors: the file's, EIO for one.
Result<WriteMeasure> measure_writing(const Directory& folder, const std::atomic<bool>& cancel);

/// The same on the same running host, and most likely no other: a hash of its boot id.
std::uint64_t host_id();

}  // namespace vhdxm::transfer
