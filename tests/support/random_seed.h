// The seed of a random test: new each run, printed when the test fails, set to repeat it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

namespace vhdxm::test {

/// The value of VHDXM_TEST_SEED, or a random one.
inline std::uint64_t random_seed() {
  if (const char* text = std::getenv("VHDXM_TEST_SEED")) return std::stoull(text, nullptr, 0);
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

/// Use as: const auto seed = random_seed(); SCOPED_TRACE(repeat_with(seed)); std::mt19937_64
/// random(seed);
inline std::string repeat_with(std::uint64_t seed) {
  return "repeat with VHDXM_TEST_SEED=" + std::to_string(seed);
}

}  // namespace vhdxm::test
