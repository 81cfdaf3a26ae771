// Random bytes from the kernel, for keys, identities and tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vhdxm {

/// Fills `bytes` with the kernel's random bytes. Aborts if there are none: nothing is safe then.
void random_bytes(std::span<std::byte> bytes);

std::uint64_t random_u64();

}  // namespace vhdxm
