// XXH3-128, the hash of payload, and sums of hashes mod 2^128.
//
// Not cryptographic: against an attacker on the wire there is TLS; the seed, random for
// each job, keeps content inside a guest from being made to collide.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace vhdxm {

struct Hash128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  friend constexpr auto operator<=>(const Hash128&, const Hash128&) = default;

  /// Adds mod 2^128.
  constexpr Hash128& operator+=(const Hash128& other) {
    low += other.low;
    high += other.high + (low < other.low ? 1 : 0);
    return *this;
  }
};

/// XXH3-128 of `bytes` with `seed`.
Hash128 hash128(std::span<const std::byte> bytes, std::uint64_t seed);

/// 32 lower-case hex digits, most significant first.
std::string to_string(const Hash128& hash);

/// Whether every byte is zero; any size and alignment.
bool all_zero(std::span<const std::byte> bytes);

}  // namespace vhdxm
