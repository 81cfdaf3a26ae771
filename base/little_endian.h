// Integers as little-endian bytes: fields that overlay a file or a message at any alignment.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vhdxm {

static_assert(std::endian::native == std::endian::little, "only little-endian hosts are supported");

template <std::unsigned_integral T>
class Le {
 public:
  constexpr Le() = default;
  constexpr Le(T value) : bytes_(std::bit_cast<Bytes>(value)) {}     // NOLINT: meant to convert
  constexpr operator T() const { return std::bit_cast<T>(bytes_); }  // NOLINT: meant to convert

 private:
  using Bytes = std::array<std::uint8_t, sizeof(T)>;
  Bytes bytes_{};
};

using Le16 = Le<std::uint16_t>;
using Le32 = Le<std::uint32_t>;
using Le64 = Le<std::uint64_t>;

/// Copies a structure of Le fields out of bytes. Requires: `bytes` points at sizeof(T) bytes.
template <class T>
T load_raw(const std::byte* bytes) {
  static_assert(alignof(T) == 1 && std::is_trivially_copyable_v<T>);
  T raw;
  std::memcpy(&raw, bytes, sizeof raw);
  return raw;
}

/// Copies a structure of Le fields into bytes. Requires: `bytes` points at sizeof(T) bytes.
template <class T>
void store_raw(std::byte* bytes, const T& raw) {
  static_assert(alignof(T) == 1 && std::is_trivially_copyable_v<T>);
  std::memcpy(bytes, &raw, sizeof raw);
}

}  // namespace vhdxm
