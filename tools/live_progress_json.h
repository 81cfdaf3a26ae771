// How a live move stands, for programs.
#pragma once

#include <boost/json/object.hpp>

#include "transfer/live_progress.h"

namespace vhdxm::tools {

/// The member `live` of a job's progress and report: docs/control-api.md.
boost::json::object live_fields(const transfer::LiveProgress& live);

}  // namespace vhdxm::tools
