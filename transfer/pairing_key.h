// The 32 secret bytes that two hosts share, and how a person or a file carries them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace vhdxm::transfer {

class PairingKey {
 public:
  /// From the kernel's random bytes.
  static PairingKey generate();
  /// From what a person typed or a key file holds: 64 hex digits, with or without "vhdx-migrate:"
  /// in front, in either case, with spaces, tabs or dashes between groups. Errors:
  /// BaseErrc::kInvalidArgument; never says what the text was.
  static Result<PairingKey> parse(std::string_view text);
  /// Reads a key file: exactly one line, "vhdx-migrate:" and 64 lower-case hex digits.
  /// Errors: the system's; BaseErrc::kInvalidArgument for any other content.
  static Result<PairingKey> read_file(const std::string& path);
  /// Makes the key file (mode 0600, durable) with a new key if it is not there; else reads it.
  static Result<PairingKey> read_or_create_file(const std::string& path);

  /// "vhdx-migrate:0123..." as in a key file.
  std::string to_line() const;
  /// "0123abcd 4567ef01 ...": eight groups of eight, to read out and type.
  std::string to_groups() const;
  const std::array<std::uint8_t, 32>& bytes() const { return bytes_; }

  PairingKey(const PairingKey&) = default;
  PairingKey& operator=(const PairingKey&) = default;
  /// Wipes the bytes.
  ~PairingKey();

 private:
  PairingKey() = default;
  std::array<std::uint8_t, 32> bytes_{};
};

}  // namespace vhdxm::transfer
