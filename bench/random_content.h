// Bytes for benchmarks: the same in every run, and not compressible.
#pragma once

#include <cstddef>
#include <random>
#include <vector>

namespace vhdxm::bench {

inline std::vector<std::byte> random_content(std::size_t size_bytes) {
  std::mt19937_64 random(1);
  std::vector<std::byte> bytes(size_bytes);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

}  // namespace vhdxm::bench
