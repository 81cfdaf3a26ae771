// Lines of a run's trace, made only where somebody reads them.
#pragma once

#include <fmt/format.h>

#include "tests/sim/simulation.h"

namespace vhdxm::sim {

template <class... Args>
void Simulation::note(const char* format, const Args&... args) {
  if (!options_.trace) return;
  outcome_.trace.push_back(
      fmt::format("{:4} {}", outcome_.steps, fmt::format(fmt::runtime(format), args...)));
}

/// Runs what a host's process does; where the host dies in the middle of it, it dies.
template <class Work>
void Simulation::in_process(std::size_t host, Work work) {
  try {
    work();
  } catch (const test::HostDied&) {
    const bool power = scripted_ ? script_.loses_power : chance(50);
    die(host, power);
  }
}

}  // namespace vhdxm::sim
