// Text from files and peers, made fit for a terminal and for JSON.
#pragma once

#include <string>
#include <string_view>

namespace vhdxm::tools {

/// Valid UTF-8: what is not becomes U+FFFD, one for each byte.
std::string valid_utf8(std::string_view text);

/// One line that cannot drive a terminal: valid UTF-8, control characters (C0, DEL, C1) and
/// direction marks as "\x1b" or "\u202e".
std::string printable(std::string_view text);

/// `text` as a word of a shell command: as it is, or in single quotes.
std::string shell_word(std::string_view text);

}  // namespace vhdxm::tools
