#include "tools/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace vhdxm::tools {
namespace {

constexpr const char* kSeeApi = "docs/control-api.md has all resources.";

std::optional<std::vector<std::string>> matched(const std::vector<std::string>& pattern,
                                                const std::vector<std::string>& path) {
  if (pattern.size() != path.size()) return std::nullopt;
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (pattern[i] == "{}") {
      parts.push_back(path[i]);
    } else if (pattern[i] != path[i]) {
      return std::nullopt;
    }
  }
  return parts;
}

}  // namespace

void Router::add(const std::string& method, const std::string& pattern,
                 std::vector<std::string> query, Handler handler) {
  std::vector<std::string> parts;
  std::size_t begin = 1;
  while (begin < pattern.size()) {
    const auto end = std::min(pattern.find('/', begin), pattern.size());
    parts.push_back(pattern.substr(begin, end - begin));
    begin = end + 1;
  }
  routes_.push_back({.method = method,
                     .pattern = std::move(parts),
                     .query = std::move(query),
                     .handler = std::move(handler)});
}

HttpReply Router::answer(const HttpRequest& request) const {
  std::string allow;
  for (const Route& route : routes_) {
    const auto parts = matched(route.pattern, request.path);
    if (!parts) continue;
    if (route.method != request.method) {
      allow += (allow.empty() ? "" : ", ") + route.method;
      continue;
    }
    for (const auto& [name, value] : request.query) {
      if (std::find(route.query.begin(), route.query.end(), name) != route.query.end()) continue;
      return error_reply(400, "unknown_parameter",
                         fmt::format("the query has '{}', which this resource does not know", name),
                         kSeeApi);
    }
    return route.handler(request, *parts);
  }
  if (allow.empty()) {
    return error_reply(404, "no_such_resource", "there is no such resource", kSeeApi);
  }
  HttpReply reply =
      error_reply(405, "no_such_method",
                  fmt::format("this resource has no {}, only {}", request.method, allow), kSeeApi);
  reply.allow = allow;
  return reply;
}

}  // namespace vhdxm::tools
