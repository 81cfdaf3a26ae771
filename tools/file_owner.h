// --owner U:G and --file-mode 0640: whose the disks are that arrive.
#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "tools/command_failure.h"

namespace vhdxm::tools {

struct FileOwner {
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;

  friend bool operator==(const FileOwner&, const FileOwner&) = default;
};

/// "U", "U:G" or ":G"; names that this host knows, or numbers.
/// Failures: of usage, naming the user or group that is unknown.
boost::system::result<FileOwner, CommandFailure> parse_owner(const std::string& text);

/// Octal, at most 0777. Failures: of usage.
boost::system::result<std::uint32_t, CommandFailure> parse_file_mode(const std::string& text);

}  // namespace vhdxm::tools
