// The part of the control API that is about jobs: those that leave, and what arrives.
#pragma once

#include "tools/host_service.h"
#include "tools/router.h"

namespace vhdxm::tools {

/// Lifetime: `service` outlives the router.
void add_job_routes(Router& router, HostService& service);

boost::json::object json_of(const JobView& view);
boost::json::object json_of(const ArrivalView& view);

}  // namespace vhdxm::tools
