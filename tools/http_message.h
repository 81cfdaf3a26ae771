// Requests and answers of the control API, without the transport.
#pragma once

#include <boost/json/value.hpp>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tools/command_failure.h"

namespace vhdxm::tools {

struct HttpRequest {
  std::string method;
  std::vector<std::string> path;             ///< Its parts, decoded: "/v1/disks/a" has three.
  std::map<std::string, std::string> query;  ///< Decoded; of a name that comes twice, the last.
  std::string body;
};

struct HttpReply {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body = {};
  std::string allow = {};  ///< For 405: the methods that there are.
  /// Nothing has happened yet that the client waits for: it is asked again soon, and gets this
  /// reply when it has waited so long.
  std::optional<std::chrono::milliseconds> wait = {};
};

/// `value`, and a line end, so that a terminal is left in order.
HttpReply json_reply(unsigned status, const boost::json::value& value);

/// {"error":{"code":...,"message":...,"advice":...}}. `code` is for programs, the others for
/// people; `ownership` is left out where it is empty.
HttpReply error_reply(unsigned status, const std::string& code, const std::string& message,
                      const std::string& advice, const std::string& ownership = {});
/// The same of a failure; its exit code goes along, for the command that asked.
HttpReply error_reply(unsigned status, const std::string& code, const CommandFailure& failure);

/// Splits and decodes the target of a request: "/v1/disks/web%2001?force=1". nullopt: it does not
/// begin with '/', an escape is no escape, or a part is empty, "." or "..".
struct HttpTarget {
  std::vector<std::string> path;
  std::map<std::string, std::string> query;
};
std::optional<HttpTarget> parse_target(const std::string& target);
/// As one part of a target, or a name or value of its query.
std::string percent_encoded(const std::string& text);

}  // namespace vhdxm::tools
