// Where the frames of a receiver's data streams go: a disk that arrives, or nowhere.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "transfer/frame.h"

namespace vhdxm::transfer {

/// Thread safety: apply() from several threads at once.
class FrameSink {
 public:
  virtual ~FrameSink() = default;

  /// Checks the frame and does with it what is to be done. `payload`: unpacked, raw_length bytes if
  /// the frame has any. `scratch`: kCellBytes that may be written to.
  /// Errors end the job.
  virtual Result<void> apply(const FrameHeader& frame, std::span<const std::byte> payload,
                             std::span<std::byte> scratch) = 0;
};

}  // namespace vhdxm::transfer
