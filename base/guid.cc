#include "base/guid.h"

#include <fmt/format.h>

#include <span>

#include "base/random.h"

namespace vhdxm {
namespace {

// Where byte i of the stored form stands in the text.
constexpr std::array<std::size_t, 16> kPlace = {6,  4,  2,  0,  11, 9,  16, 14,
                                                19, 21, 24, 26, 28, 30, 32, 34};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Guid Guid::random() {
  Guid guid;
  random_bytes(std::as_writable_bytes(std::span(guid.bytes)));
  guid.bytes[7] = static_cast<std::uint8_t>((guid.bytes[7] & 0x0f) | 0x40);  // version 4
  guid.bytes[8] = static_cast<std::uint8_t>((guid.bytes[8] & 0x3f) | 0x80);  // variant 1
  return guid;
}

std::optional<Guid> Guid::parse(std::string_view text) {
  if (text.size() == 38 && text.front() == '{' && text.back() == '}') text = text.substr(1, 36);
  if (text.size() != 36) return std::nullopt;
  for (const std::size_t dash : {8U, 13U, 18U, 23U}) {
    if (text[dash] != '-') return std::nullopt;
  }
  Guid guid;
  for (std::size_t i = 0; i < 16; ++i) {
    const int high = hex_digit(text[kPlace[i]]);
    const int low = hex_digit(text[kPlace[i] + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    guid.bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return guid;
}

std::string to_string(const Guid& guid) {
  std::string text(36, '-');
  for (std::size_t i = 0; i < 16; ++i) {
    fmt::format_to_n(text.begin() + static_cast<std::ptrdiff_t>(kPlace[i]), 2, "{:02x}",
                     guid.bytes[i]);
  }
  return text;
}

}  // namespace vhdxm
