// Text as it may stand in a message: valid UTF-8, and what a screen shows has no control
// characters.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vhdxm::transfer {

/// Whether all of `text` is valid UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
bool is_utf8(std::string_view text);

/// Whether `text` is valid UTF-8 without control characters (U+0000-001F, U+007F-009F): what a peer
/// says is shown on terminals, which obey escape sequences.
bool is_printable_text(std::string_view text);

/// Whether `text` can be the name of a storage folder: ASCII letters, digits, '-' and '_', at least
/// one and at most kFolderNameBytesMax. So it is never a path, and never more than one component.
inline constexpr std::size_t kFolderNameBytesMax = 64;
bool is_folder_name(std::string_view text);

/// `text` made printable, '?' for what is not, and cut at the end of a character to `bytes_max`.
std::string to_printable_text(std::string_view text, std::size_t bytes_max);

}  // namespace vhdxm::transfer
