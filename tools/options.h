// Options of the commands: a flag, its environment variable and what values it takes, in one place.
//
// Precedence: flag, then environment variable, then default. The variable of --block-size is
// VHDX_MIGRATE_BLOCK_SIZE; one that is set but empty counts as not set.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vhdxm::tools {

/// "VHDX_MIGRATE_BLOCK_SIZE" of "--block-size".
std::string environment_name(std::string_view option);

/// Milliseconds of "20ms", "2s"; nothing for what is neither, or 0.
std::optional<std::uint64_t> parse_milliseconds(const std::string& text);

/// What one command takes. All variables must live until the command line was parsed.
class OptionSet {
 public:
  explicit OptionSet(CLI::App& app) : app_(app) {}

  /// A positional argument that must be there.
  void argument(const std::string& name, std::string& value, const std::string& help);

  /// A positional argument that may be left out.
  void optional_argument(const std::string& name, std::string& value, const std::string& help);

  /// Any number of them, none too.
  void arguments(const std::string& name, std::vector<std::string>& values,
                 const std::string& help);

  void flag(const std::string& name, bool& value, const std::string& help);
  void text(const std::string& name, const std::string& type, std::string& value,
            const std::string& help);
  /// May be given several times, with one value each. It has no environment variable.
  void texts(const std::string& name, const std::string& type, std::vector<std::string>& values,
             const std::string& help);
  /// Bytes: 4096, 512K, 1.5G. Units: bytes.
  void size(const std::string& name, std::optional<std::uint64_t>& value, const std::string& help);
  /// Time: 20ms, 2s. Units: milliseconds, in [1, most_ms].
  void time(const std::string& name, std::optional<std::uint64_t>& value, std::uint64_t most_ms,
            const std::string& help);
  /// A whole number in [least, most].
  void number(const std::string& name, std::optional<unsigned>& value, unsigned least,
              unsigned most, const std::string& help);
  void number(const std::string& name, std::optional<int>& value, int least, int most,
              const std::string& help);
  /// One of `choices`. `why_not` is said of any other value, e.g. which version will have it.
  void choice(const std::string& name, std::string& value, const std::vector<std::string>& choices,
              const std::string& help, const std::string& why_not = "");

  CLI::App& app() { return app_; }

 private:
  template <class Number>
  void add_number(const std::string& name, std::optional<Number>& value, Number least, Number most,
                  const std::string& help);

  CLI::App& app_;
};

}  // namespace vhdxm::tools
