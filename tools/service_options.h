// The command line of vhdx-migrated, put over the environment and the file.
#pragma once

#include <boost/system/result.hpp>
#include <string>
#include <vector>

#include "migration/host_settings.h"
#include "tools/command_failure.h"

namespace vhdxm::tools {

struct ServiceOptions {
  migration::HostSettings settings;
  std::string text;  ///< Of --help or --version: to be printed, and nothing else done.
};

/// Flag, then environment (VHDX_MIGRATE_...), then file, then default. Failures: of usage; those of
/// read_host_config().
boost::system::result<ServiceOptions, CommandFailure> parse_service_options(
    const std::vector<std::string>& words);

}  // namespace vhdxm::tools
