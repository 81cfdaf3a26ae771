#include "transfer/wire_text.h"

#include <algorithm>
#include <cstdint>

namespace vhdxm::transfer {
namespace {

struct Character {
  std::size_t length = 0;  ///< Bytes; 0 if they are no valid character.
  std::uint32_t code = 0;
};

/// The first character of `text`, which is not empty. Spec: RFC 3629.
Character first_character(std::string_view text) {
  const auto byte = [&text](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {1, lead};
  std::size_t length = 0;
  std::uint32_t code = 0;
  std::uint32_t least = 0;  // A smaller code in this many bytes is an overlong form.
  if ((lead & 0xe0) == 0xc0) {
    length = 2, code = lead & 0x1fu, least = 0x80;
  } else if ((lead & 0xf0) == 0xe0) {
    length = 3, code = lead & 0x0fu, least = 0x800;
  } else if ((lead & 0xf8) == 0xf0) {
    length = 4, code = lead & 0x07u, least = 0x10000;
  }
  if (length == 0 || text.size() < length) return {};
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fu);
  }
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < least || code > 0x10ffff || surrogate) return {};
  return {length, code};
}

bool is_control(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code <= 0x9f);
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Character character = first_character(text);
    if (character.length == 0) return false;
    text.remove_prefix(character.length);
  }
  return true;
}

bool is_printable_text(std::string_view text) {
  while (!text.empty()) {
    const Character character = first_character(text);
    if (character.length == 0 || is_control(character.code)) return false;
    text.remove_prefix(character.length);
  }
  return true;
}

bool is_folder_name(std::string_view text) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  };
  return !text.empty() && text.size() <= kFolderNameBytesMax &&
         std::all_of(text.begin(), text.end(), is_plain);
}

std::string to_printable_text(std::string_view text, std::size_t bytes_max) {
  std::string printable;
  while (!text.empty()) {
    const Character character = first_character(text);
    const bool good = character.length != 0 && !is_control(character.code);
    const std::size_t taken = character.length == 0 ? 1 : character.length;
    const std::string_view piece = good ? text.substr(0, taken) : "?";
    if (printable.size() + piece.size() > bytes_max) break;
    printable += piece;
    text.remove_prefix(taken);
  }
  return printable;
}

}  // namespace vhdxm::transfer
