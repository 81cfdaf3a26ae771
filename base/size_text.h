// Sizes as people write them: 8G, 512M, 4096; binary units.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vhdxm {

/// Bytes of "8G", "1.5T", "4096", "64MiB"; nullopt for what is not a size or exceeds 2^63.
/// Units: K, M, G, T, P are powers of 1024; an "iB" or "B" after them is allowed.
std::optional<std::uint64_t> parse_size(std::string_view text);

/// "8 GiB", "1.5 TiB", "512 B": at most one decimal, for people.
std::string format_size(std::uint64_t bytes);

}  // namespace vhdxm
