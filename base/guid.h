// GUIDs in the mixed byte order of Microsoft's formats.
//
// Spec: [MS-DTYP] 2.3.4. The first three fields are little-endian on disk, so the
// text {01020304-0506-0708-090A-...} is stored as 04 03 02 01 06 05 08 07 09 0A ...
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vhdxm {

struct Guid {
  std::array<std::uint8_t, 16> bytes{};  ///< As stored on disk.

  friend constexpr auto operator<=>(const Guid&, const Guid&) = default;
  constexpr bool is_zero() const { return *this == Guid{}; }

  /// A random (version 4) GUID.
  static Guid random();
  /// From text, with or without braces, upper or lower case; nullopt if it is not a GUID.
  static std::optional<Guid> parse(std::string_view text);
};
static_assert(sizeof(Guid) == 16 && alignof(Guid) == 1);

/// "2dc27766-f623-4200-9d64-115e9bfd4a08": lower case, no braces.
std::string to_string(const Guid& guid);

/// A GUID from its text, at compile time. A text that is no GUID does not compile.
consteval Guid guid_literal(const char (&text)[37]) {
  constexpr std::array<int, 16> kPlace = {6,  4,  2,  0,  11, 9,  16, 14,
                                          19, 21, 24, 26, 28, 30, 32, 34};
  auto digit = [](char c) -> std::uint8_t {
    if (c >= '0' && c <= '9') return static_cast<std::uint8_t>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<std::uint8_t>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<std::uint8_t>(c - 'A' + 10);
    throw "not a hex digit";
  };
  Guid guid;
  for (std::size_t i = 0; i < 16; ++i) {
    const auto at = static_cast<std::size_t>(kPlace[i]);
    guid.bytes[i] = static_cast<std::uint8_t>(digit(text[at]) << 4 | digit(text[at + 1]));
  }
  return guid;
}

}  // namespace vhdxm
