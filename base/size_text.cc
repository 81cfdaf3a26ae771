#include "base/size_text.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace vhdxm {
namespace {

constexpr std::string_view kUnits = "KMGTP";
constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 63;

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc{} || !(number >= 0)) return std::nullopt;
  std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  double factor = 1;
  if (!unit.empty()) {
    const char upper = unit[0] >= 'a' && unit[0] <= 'z' ? static_cast<char>(unit[0] - 32) : unit[0];
    const auto power = kUnits.find(upper);
    if (power != std::string_view::npos) {
      factor = std::ldexp(1.0, 10 * (static_cast<int>(power) + 1));
      unit.remove_prefix(1);
      if (unit.starts_with('i')) unit = unit == "iB" ? "B" : "?";
    }
    if (!unit.empty() && unit != "B") return std::nullopt;
  }
  if (factor == 1) {
    // Whole bytes are taken exactly, beyond what a double holds.
    std::uint64_t bytes = 0;
    const auto [stop, problem] = std::from_chars(text.data(), end, bytes);
    if (problem != std::errc{} || stop != rest || bytes > kBytesMax) return std::nullopt;
    return bytes;
  }
  const double bytes = number * factor;
  if (bytes > 0x1p63 || bytes != std::floor(bytes)) return std::nullopt;
  return static_cast<std::uint64_t>(bytes);
}

std::string format_size(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  std::size_t unit = 0;
  double value = static_cast<double>(bytes) / 1024;
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  if (value == std::floor(value)) return fmt::format("{:.0f} {}iB", value, kUnits[unit]);
  return fmt::format("{:.1f} {}iB", value, kUnits[unit]);
}

}  // namespace vhdxm
