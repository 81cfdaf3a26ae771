// How payload travels, in words and in JSON: plain or compressed, how hard, and why.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "transfer/progress.h"

namespace vhdxm::tools {

/// "plain", "level 1", "60% level 1, 40% level 3"; and what holds the job back, if that is known.
std::string mode_text(const transfer::ModeReport& mode);
/// "auto: 1.2 GiB compressed, mostly at level 1; the network was the bottleneck"
std::string compression_text(const transfer::CompressionReport& report);

/// Adds "mode", "ways" (each a level, or null for plain, and its share) and "bottleneck".
void add_mode(boost::json::object& fields, const transfer::ModeReport& mode);
boost::json::object compression_fields(const transfer::CompressionReport& report);

}  // namespace vhdxm::tools
