// Rates of links as people say them: in bits a second, with decimal units.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vhdxm::tools {

/// "100M", "1G", "2.5G", "1000000": bits a second; K, M, G, T are powers of 1000. Nothing for
/// anything else, for less than 1 Kbit/s, and for more than 1000 Tbit/s.
std::optional<double> parse_bit_rate(std::string_view text);

/// "940 Mbit/s" of bytes a second.
std::string format_bit_rate(double bytes_per_second);

}  // namespace vhdxm::tools
