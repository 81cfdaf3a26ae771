// What the service and the processes of its jobs agree on about a job.
#pragma once

#include <string>

#include "transfer/mode_control.h"

namespace vhdxm::tools {

/// Where a job's process keeps its lock and its control socket.
std::string job_lock_path(const std::string& run_folder, const std::string& id);
std::string job_socket_path(const std::string& run_folder, const std::string& id);

/// What to do about one that is blocked.
std::string blocked_advice(const std::string& id);

/// As a job's record says it; kAuto for anything else.
transfer::Mode mode_named(const std::string& name);

}  // namespace vhdxm::tools
