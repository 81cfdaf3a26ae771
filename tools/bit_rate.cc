#include "tools/bit_rate.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

namespace vhdxm::tools {
namespace {

constexpr double kBitsMin = 1e3;
constexpr double kBitsMax = 1e15;

}  // namespace

std::optional<double> parse_bit_rate(std::string_view text) {
  double factor = 1;
  if (!text.empty()) {
    switch (text.back()) {
      case 'K':
      case 'k':
        factor = 1e3;
        break;
      case 'M':
      case 'm':
        factor = 1e6;
        break;
      case 'G':
      case 'g':
        factor = 1e9;
        break;
      case 'T':
      case 't':
        factor = 1e12;
        break;
      default:
        break;
    }
  }
  if (factor > 1) text.remove_suffix(1);
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc{} || stop != end) return std::nullopt;
  const double bits = number * factor;
  if (!(bits >= kBitsMin && bits <= kBitsMax)) return std::nullopt;
  return bits;
}

std::string format_bit_rate(double bytes_per_second) {
  constexpr std::array<const char*, 4> kUnits = {"kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"};
  double rate = bytes_per_second * 8 / 1e3;
  std::size_t unit = 0;
  for (; rate >= 1000 && unit + 1 < kUnits.size(); ++unit) rate /= 1000;
  return fmt::format("{:.{}f} {}", rate, rate < 10 ? 1 : 0, kUnits[unit]);
}

}  // namespace vhdxm::tools
