// Which function answers which request of the control API.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tools/http_message.h"

namespace vhdxm::tools {

class Router {
 public:
  /// What stood in the request at each "{}" of the pattern, in its order.
  using Parts = std::vector<std::string>;
  using Handler = std::function<HttpReply(const HttpRequest& request, const Parts& parts)>;

  /// `pattern`: "/v1/disks/{}". `query`: the names that may stand in the query.
  void add(const std::string& method, const std::string& pattern, std::vector<std::string> query,
           Handler handler);

  /// 404 if there is no such resource, 405 if it has no such method, 400 if the query has a name
  /// that it does not know.
  /// Thread safety: from any thread, when all were added.
  HttpReply answer(const HttpRequest& request) const;

 private:
  struct Route {
    std::string method;
    std::vector<std::string> pattern;
    std::vector<std::string> query;
    Handler handler;
  };
  std::vector<Route> routes_;
};

}  // namespace vhdxm::tools
