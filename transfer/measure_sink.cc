#include "transfer/measure_sink.h"

#include "base/hash128.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {

Result<void> MeasureSink::apply(const FrameHeader& frame, std::span<const std::byte> payload,
                                std::span<std::byte>) {
  if (frame.kind != FrameKind::kData) {
    return Error{.code = Errc::kProtocol,
                 .where = "a frame without payload in a measurement",
                 .found = static_cast<std::uint64_t>(frame.kind)};
  }
  if (hash128(payload, hash_seed_) != frame.hash) {
    return Error{.code = Errc::kChecksum,
                 .where = "payload of a measurement",
                 .offset = frame.virtual_offset};
  }
  return {};
}

}  // namespace vhdxm::transfer
