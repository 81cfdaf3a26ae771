#include "tools/printable_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace vhdxm::tools {
namespace {

struct CodePoint {
  std::uint32_t value = 0;
  std::size_t bytes = 0;  ///< 0: no valid UTF-8 here.
};

/// The code point at the start of `text`, which is not empty.
CodePoint first_code_point(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  std::size_t bytes = 0;
  std::uint32_t least = 0;
  std::uint32_t value = 0;
  if ((lead & 0xe0) == 0xc0) {
    bytes = 2, least = 0x80, value = lead & 0x1fU;
  } else if ((lead & 0xf0) == 0xe0) {
    bytes = 3, least = 0x800, value = lead & 0x0fU;
  } else if ((lead & 0xf8) == 0xf0) {
    bytes = 4, least = 0x10000, value = lead & 0x07U;
  }
  if (bytes == 0 || text.size() < bytes) return {};
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3fU);
  }
  // Overlong forms, surrogates and what lies past Unicode are not UTF-8.
  if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return {};
  return {value, bytes};
}

bool drives_terminal(std::uint32_t value) {
  return value < 0x20 || (value >= 0x7f && value < 0xa0);
}

bool turns_direction(std::uint32_t value) {
  return (value >= 0x200e && value <= 0x200f) || (value >= 0x2028 && value <= 0x202e) ||
         (value >= 0x2066 && value <= 0x2069);
}

template <class Append>
void for_each_code_point(std::string_view text, Append append) {
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    const std::size_t bytes = std::max<std::size_t>(point.bytes, 1);
    append(point, text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_code_point(text, [&](CodePoint point, std::string_view bytes) {
    out += point.bytes == 0 ? std::string_view("\xef\xbf\xbd") : bytes;
  });
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_code_point(text, [&](CodePoint point, std::string_view bytes) {
    if (point.bytes == 0) {
      out += "\xef\xbf\xbd";
    } else if (drives_terminal(point.value)) {
      out += fmt::format("\\x{:02x}", point.value);
    } else if (turns_direction(point.value)) {
      out += fmt::format("\\u{:04x}", point.value);
    } else {
      out += bytes;
    }
  });
  return out;
}

std::string shell_word(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("_-./:,=+@%").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), plain)) return std::string(text);
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

}  // namespace vhdxm::tools
