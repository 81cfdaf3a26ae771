// Content of disks for tests: a few runs of random bytes in a sparse file.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace vhdxm::test {

inline constexpr std::uint64_t kMiB = 1024 * 1024;

struct Stretch {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/// Makes a raw disk of `size` bytes that is zero but for `runs`.
inline void make_raw(const std::string& path, std::uint64_t size, const std::vector<Stretch>& runs,
                     std::uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::ofstream file(path, std::ios::binary);
  std::vector<std::uint64_t> words;
  for (const Stretch& run : runs) {
    words.resize(run.length / sizeof(std::uint64_t));
    for (auto& word : words) word = random();
    file.seekp(static_cast<std::streamoff>(run.offset));
    file.write(reinterpret_cast<const char*>(words.data()),
               static_cast<std::streamsize>(run.length));
  }
  file.seekp(static_cast<std::streamoff>(size - 1));
  const auto end = runs.empty() ? 0 : runs.back().offset + runs.back().length;
  if (end < size) file.put('\0');
  ASSERT_TRUE(file.good()) << path;
}

/// Overwrites bytes of a file.
inline void damage(const std::string& path, std::uint64_t offset, const std::string& bytes) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(offset));
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good()) << path;
}

inline std::string content_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace vhdxm::test
