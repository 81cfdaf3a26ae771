// Advice before a move, as a table with a recommendation and as JSON.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "transfer/advisor.h"

namespace vhdxm::tools {

/// Lines for a person; ends with a newline.
std::string advice_text(const transfer::Advice& advice);
/// What to choose, and why: one sentence.
std::string recommendation(const transfer::Advice& advice);
/// The members of {"type":"advice"}.
boost::json::object advice_json(const transfer::Advice& advice);

}  // namespace vhdxm::tools
