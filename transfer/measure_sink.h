// The receiving end of a measurement (docs/protocol.md, "Measuring"): verifies frames, keeps none.
#pragma once

#include "transfer/frame_sink.h"

namespace vhdxm::transfer {

/// Does all that a disk does with a frame but write it, so that what it costs is what a move costs.
class MeasureSink final : public FrameSink {
 public:
  explicit MeasureSink(std::uint64_t hash_seed) : hash_seed_(hash_seed) {}

  /// Errors: Errc::kProtocol for a frame without payload, kChecksum.
  Result<void> apply(const FrameHeader& frame, std::span<const std::byte> payload,
                     std::span<std::byte> scratch) override;

 private:
  const std::uint64_t hash_seed_;
};

}  // namespace vhdxm::transfer
