// What a frame header costs beside its payload.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "transfer/frame.h"

namespace vhdxm::transfer {
namespace {

constexpr FrameHeader kHeader{.kind = FrameKind::kData,
                              .disk = 3,
                              .virtual_offset = 5ull << 40,
                              .raw_length = 1 << 20,
                              .wire_length = 1 << 20,
                              .hash = {.low = 1, .high = 2}};
constexpr FrameLimits kLimits{.extent_bytes_max = 1 << 20, .disk_count = 4};

void BM_Frame_Encode(benchmark::State& state) {
  FrameHeader header = kHeader;
  FrameHeaderBytes bytes{};
  for (auto _ : state) {
    header.virtual_offset ^= 1 << 20;
    bytes = encode(header);
    benchmark::DoNotOptimize(bytes);
  }
  VHDXM_CHECK(decode_frame_header(bytes, kLimits).value() == header);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Frame_Encode);

void BM_Frame_Decode(benchmark::State& state) {
  const FrameHeaderBytes bytes = encode(kHeader);
  for (auto _ : state) {
    const auto header = decode_frame_header(bytes, kLimits);
    VHDXM_CHECK(header.has_value() && header->virtual_offset == kHeader.virtual_offset);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Frame_Decode);

}  // namespace
}  // namespace vhdxm::transfer
