#include "base/hash128.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstring>

namespace vhdxm {

Hash128 hash128(std::span<const std::byte> bytes, std::uint64_t seed) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {.low = hash.low64, .high = hash.high64};
}

std::string to_string(const Hash128& hash) {
  return fmt::format("{:016x}{:016x}", hash.high, hash.low);
}

bool all_zero(std::span<const std::byte> bytes) {
  // Data usually shows itself in its first bytes; a zero range is one memcmp with itself, shifted.
  constexpr std::size_t kHead = 64;
  for (std::size_t i = 0; i < bytes.size() && i < kHead; ++i) {
    if (bytes[i] != std::byte{0}) return false;
  }
  if (bytes.size() <= kHead) return true;
  return std::memcmp(bytes.data(), bytes.data() + kHead, bytes.size() - kHead) == 0;
}

}  // namespace vhdxm
