// A whole move in one process, both sides: BM_Pipeline/tls:1/streams:4. See whole_move.h for how
// large and where.
#include <utility>

#include "bench/whole_move.h"

namespace vhdxm::bench {
namespace {

void BM_Pipeline(benchmark::State& state) {
  WholeMove move(
      {.plaintext = state.range(0) == 0, .streams = static_cast<unsigned>(state.range(1))});
  double cpu = 0;
  bool check = true;
  for (auto _ : state) {
    const double before = cpu_seconds();
    move.run(move.receiver_port());
    cpu += cpu_seconds() - before;
    state.PauseTiming();
    move.clear(std::exchange(check, false));
    state.ResumeTiming();
  }
  move.report(state, cpu);
}
BENCHMARK(BM_Pipeline)
    ->ArgNames({"tls", "streams"})
    ->Args({0, 1})
    ->Args({0, 4})
    ->Args({1, 1})
    ->Args({1, 4})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vhdxm::bench
