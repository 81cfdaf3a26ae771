// What every byte of payload goes through on both sides: the look for zeros and XXH3-128.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/hash128.h"
#include "bench/random_content.h"

namespace vhdxm {
namespace {

constexpr std::uint64_t kSeed = 7;

void BM_Hash128(benchmark::State& state) {
  auto bytes = bench::random_content(static_cast<std::size_t>(state.range(0)));
  const Hash128 expected = hash128(bytes, kSeed);
  bytes.back() ^= std::byte{1};
  VHDXM_CHECK(hash128(bytes, kSeed) != expected);
  bytes.back() ^= std::byte{1};
  for (auto _ : state) VHDXM_CHECK(hash128(bytes, kSeed) == expected);
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Hash128)->Arg(4096)->Arg(256 << 10)->Arg(1 << 20);

void BM_AllZero_OfZeros(benchmark::State& state) {
  const std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) VHDXM_CHECK(all_zero(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_AllZero_OfZeros)->Arg(4096)->Arg(256 << 10)->Arg(1 << 20);

// Data that begins with zeros, as a file system's blocks do: the costly kind of "no".
void BM_AllZero_OfALateByte(benchmark::State& state) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)));
  bytes[bytes.size() / 2] = std::byte{1};
  for (auto _ : state) VHDXM_CHECK(!all_zero(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0) / 2);
}
BENCHMARK(BM_AllZero_OfALateByte)->Arg(256 << 10)->Arg(1 << 20);

}  // namespace
}  // namespace vhdxm
