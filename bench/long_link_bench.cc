// A whole move over a link with length: tests/net/delay_proxy.h between both sides. In the share of
// the link's rate the whole move counts, handshakes and slow first round trips included: it takes
// VHDXM_BENCH_MIB of some seconds' worth to be near 1. What one machine can play is some Gbit/s;
// tests/transfer/long_link_test.cc goes further, in virtual time.
#include <utility>

#include "base/check.h"
#include "bench/whole_move.h"
#include "tests/net/delay_proxy.h"

namespace vhdxm::bench {
namespace {

void BM_LongLink(benchmark::State& state) {
  WholeMove move({.plaintext = true, .streams = static_cast<unsigned>(state.range(2))});
  const auto rate = static_cast<double>(state.range(0)) * 1e6 / 8;
  const test::DelayProxy proxy(move.receiver_port(),
                               {.bytes_per_second = static_cast<std::uint64_t>(rate),
                                .one_way = std::chrono::microseconds(500 * state.range(1))});
  double cpu = 0;
  bool check = true;
  for (auto _ : state) {
    const double before = cpu_seconds();
    move.run(proxy.port());
    cpu += cpu_seconds() - before;
    state.PauseTiming();
    move.clear(std::exchange(check, false));
    state.ResumeTiming();
  }
  move.report(state, cpu);
  state.counters["share"] = benchmark::Counter(
      static_cast<double>(move.data_bytes()) * static_cast<double>(state.iterations()) / rate,
      benchmark::Counter::kIsRate);
}
BENCHMARK(BM_LongLink)
    ->ArgNames({"Mbit", "rtt_ms", "streams"})
    ->Args({1000, 0, 4})
    ->Args({1000, 50, 4})
    ->Args({1000, 100, 4})
    ->Args({1000, 100, 16})
    ->UseRealTime()
    ->MeasureProcessCPUTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vhdxm::bench
