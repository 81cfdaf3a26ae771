// How many runs a test of the simulator makes.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

namespace vhdxm::sim {

/// VHDXM_SIM_RUNS, or what continuous integration wants of a release build.
inline std::uint64_t run_count() {
  const char* text = std::getenv("VHDXM_SIM_RUNS");
  return text != nullptr ? std::stoull(text) : 120'000;
}

}  // namespace vhdxm::sim
