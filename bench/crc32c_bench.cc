// CRC-32C of frame headers and format structures. Sizes: a frame header, a VHDX header, a region
// table, an extent.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "bench/random_content.h"

namespace vhdxm {
namespace {

void BM_Crc32c(benchmark::State& state) {
  const auto bytes = bench::random_content(static_cast<std::size_t>(state.range(0)));
  const auto half = std::span(bytes).first(bytes.size() / 2);
  const std::uint32_t expected = crc32c(std::span(bytes).subspan(half.size()), crc32c(half));
  for (auto _ : state) VHDXM_CHECK(crc32c(bytes) == expected);
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Crc32c)->Arg(64)->Arg(4096)->Arg(65536)->Arg(1 << 20);

}  // namespace
}  // namespace vhdxm
