// What the service counts, as Prometheus reads it.
#pragma once

#include <string>

#include "tools/host_service.h"

namespace vhdxm::tools {

/// The text format 0.0.4.
std::string metrics_text(HostService& service);

}  // namespace vhdxm::tools
