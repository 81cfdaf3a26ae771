// The host settings as an administrator writes them, in TOML: /etc/vhdx-migrate/host.toml.
//
// Strict: a key that is not known is an error, because a limit that was misspelt is no limit.
#pragma once

#include <boost/system/result.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "migration/host_settings.h"
#include "tools/command_failure.h"

namespace vhdxm::tools {

inline constexpr const char* kHostConfigPath = "/etc/vhdx-migrate/host.toml";

using HostConfigResult = boost::system::result<migration::HostSettings, CommandFailure>;

/// Reads `text`, the content of the file `name`. Failures: of usage, naming file, line and key.
HostConfigResult parse_host_config(std::string_view text, const std::string& name);

/// Reads the file. Failures: the system's; those of parse_host_config().
HostConfigResult read_host_config(const std::string& path);

/// What can only be said when the file, the environment and the command line were put together.
/// Empty if the settings can be used.
std::string problem_with(const migration::HostSettings& settings);

/// Where the service starts: gives each folder that disks may arrive in the one path that it has,
/// links resolved. Failures: a folder that is not there, or is there under two names; of usage,
/// naming the key and the way out.
std::optional<CommandFailure> find_folders(migration::HostSettings& settings);

}  // namespace vhdxm::tools
