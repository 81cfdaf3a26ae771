// Shows a job of the host's service until it is over, and how it ended.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "tools/command.h"
#include "tools/control_client.h"

namespace vhdxm::tools {

/// Follows the job until nothing more happens to it by itself, or Ctrl-C, which leaves it alone.
/// The result is the job's own.
CommandResult follow_job(CommandContext& context, const ControlClient& client,
                         const std::string& id);

/// One line for a person: id, state, disk, where to, how far.
std::string job_line(const boost::json::object& job);

}  // namespace vhdxm::tools
