// The seed of a random test: new each run, printed when the test fails, set to repeat it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
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

/// Rounds of a test whose input is random: `usual`, or VHDXM_ROUNDS_PERCENT of them, at least one.
/// For runs under sanitizers, to which the first ones show what all would.
inline int rounds(int usual) {
  const char* const percent = std::getenv("VHDXM_ROUNDS_PERCENT");
  if (percent == nullptr) return usual;
  return std::max(1, usual * std::stoi(percent) / 100);
}

/// Use as: const auto seed = random_seed(); SCOPED_TRACE(repeat_with(seed)); std::mt19937_64
/// random(seed);
inline std::string repeat_with(std::uint64_t seed) {
  return "repeat with VHDXM_TEST_SEED=" + std::to_string(seed);
}

}  // namespace vhdxm::test
