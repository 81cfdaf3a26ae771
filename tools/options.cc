#include "tools/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <charconv>
#include <utility>

#include "base/size_text.h"
#include "tools/printable_text.h"

namespace vhdxm::tools {

std::string environment_name(std::string_view option) {
  std::string name = "VHDX_MIGRATE";
  // "--block-size": the second of the two dashes in front becomes the separator.
  for (const char c : option.substr(1)) {
    if (c >= 'a' && c <= 'z') {
      name += static_cast<char>(c - 'a' + 'A');
    } else {
      name += c == '-' ? '_' : c;
    }
  }
  return name;
}

void OptionSet::argument(const std::string& name, std::string& value, const std::string& help) {
  app_.add_option(name, value, help)->required()->option_text(" ");
}

void OptionSet::optional_argument(const std::string& name, std::string& value,
                                  const std::string& help) {
  app_.add_option(name, value, help)->option_text(" ");
}

void OptionSet::arguments(const std::string& name, std::vector<std::string>& values,
                          const std::string& help) {
  app_.add_option(name, values, help)->option_text(" ");
}

void OptionSet::texts(const std::string& name, const std::string& type,
                      std::vector<std::string>& values, const std::string& help) {
  app_.add_option(name, values, help)->option_text(type)->allow_extra_args(false);
}

void OptionSet::flag(const std::string& name, bool& value, const std::string& help) {
  const auto is_switch = [](const std::string& text) {
    const bool good = text == "true" || text == "1" || text == "false" || text == "0";
    return good ? std::string{} : fmt::format("'{}' is neither 1 nor 0", printable(text));
  };
  app_.add_flag(name, value, help)
      ->check(CLI::Validator(is_switch, ""))
      ->envname(environment_name(name));
}

void OptionSet::text(const std::string& name, const std::string& type, std::string& value,
                     const std::string& help) {
  app_.add_option(name, value, help)->option_text(type)->envname(environment_name(name));
}

void OptionSet::size(const std::string& name, std::optional<std::uint64_t>& value,
                     const std::string& help) {
  const auto take = [name, &value](const std::string& text) {
    value = parse_size(text);
    if (!value) {
      throw CLI::ValidationError(name, fmt::format("'{}' is not a size; sizes are bytes or take K, "
                                                   "M, G, T: 4096, 32M, 1.5G",
                                                   printable(text)));
    }
  };
  app_.add_option_function<std::string>(name, take, help)
      ->option_text("SIZE")
      ->envname(environment_name(name));
}

std::optional<std::uint64_t> parse_milliseconds(const std::string& text) {
  constexpr std::uint64_t kMost = 1'000'000'000;
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  const std::string unit(stop, end);
  if (error != std::errc{} || number == 0 || number > kMost) return std::nullopt;
  if (unit == "ms") return number;
  if (unit == "s") return number * 1000;  // cannot wrap: see kMost
  return std::nullopt;
}

void OptionSet::time(const std::string& name, std::optional<std::uint64_t>& value,
                     std::uint64_t most_ms, const std::string& help) {
  const auto take = [name, &value, most_ms](const std::string& text) {
    value = parse_milliseconds(text);
    if (!value || *value > most_ms) {
      throw CLI::ValidationError(
          name, fmt::format("'{}' is not a time from 1ms to {}s, such as 20ms or 2s",
                            printable(text), most_ms / 1000));
    }
  };
  app_.add_option_function<std::string>(name, take, help)
      ->option_text("TIME")
      ->envname(environment_name(name));
}

template <class Number>
void OptionSet::add_number(const std::string& name, std::optional<Number>& value, Number least,
                           Number most, const std::string& help) {
  const auto take = [name, &value, least, most](const std::string& text) {
    Number number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || stop != end || number < least || number > most) {
      throw CLI::ValidationError(name, fmt::format("'{}' is not a whole number from {} to {}",
                                                   printable(text), least, most));
    }
    value = number;
  };
  app_.add_option_function<std::string>(name, take, help)
      ->option_text("N")
      ->envname(environment_name(name));
}

void OptionSet::number(const std::string& name, std::optional<unsigned>& value, unsigned least,
                       unsigned most, const std::string& help) {
  add_number(name, value, least, most, help);
}

void OptionSet::number(const std::string& name, std::optional<int>& value, int least, int most,
                       const std::string& help) {
  add_number(name, value, least, most, help);
}

void OptionSet::choice(const std::string& name, std::string& value,
                       const std::vector<std::string>& choices, const std::string& help,
                       const std::string& why_not) {
  const auto take = [name, &value, choices, why_not](const std::string& text) {
    if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
      throw CLI::ValidationError(
          name, fmt::format("'{}' is not {}{}{}{}", printable(text),
                            choices.size() == 1 ? "offered, only " : "one of ",
                            fmt::join(choices, ", "), why_not.empty() ? "" : "; ", why_not));
    }
    value = text;
  };
  app_.add_option_function<std::string>(name, take, help)
      ->option_text(fmt::format("{}", fmt::join(choices, "|")))
      ->envname(environment_name(name));
}

}  // namespace vhdxm::tools
