// The control API: what the service does, as resources of HTTP. docs/control-api.md describes it.
#pragma once

#include "tools/host_service.h"
#include "tools/router.h"

namespace vhdxm::tools {

/// Lifetime: `service` outlives the router.
Router control_api(HostService& service);

/// What a failure is to a program that asked by HTTP.
HttpReply reply_of(const CommandFailure& failure);
/// 400. `complaint`: what follows "the body ".
HttpReply bad_body(const std::string& complaint);

/// "GET /v1/disks": as one member of it.
boost::json::object json_of(const DiskView& view);

}  // namespace vhdxm::tools
