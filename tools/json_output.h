// The machine's side of --json: one object a line, {"schema":1,"type":...,"time":...}.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <string>
#include <string_view>

namespace vhdxm::tools {

/// Raised when the meaning of a member changes, never when one is added.
inline constexpr int kJsonSchema = 1;

/// One line, with its '\n': schema, type and time first, then `fields` in their order.
std::string json_line(std::string_view type, std::chrono::system_clock::time_point time,
                      const boost::json::object& fields);

/// A string value that is valid UTF-8 whatever a file or a peer said.
boost::json::value json_text(std::string_view text);

/// "2026-11-23T22:51:23.042Z"
std::string rfc3339(std::chrono::system_clock::time_point time);

}  // namespace vhdxm::tools
