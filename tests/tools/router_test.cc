#include "tools/router.h"

#include <gtest/gtest.h>

namespace vhdxm::tools {
namespace {

HttpReply ask(const Router& router, const std::string& method, const std::string& target) {
  const auto parsed = parse_target(target);
  if (!parsed) return {.status = 0};
  return router.answer(
      {.method = method, .path = parsed->path, .query = parsed->query, .body = {}});
}

Router a_router() {
  Router router;
  router.add("GET", "/v1/disks", {"x"}, [](const HttpRequest& request, const auto&) {
    const auto found = request.query.find("x");
    return HttpReply{.status = 200, .body = found == request.query.end() ? "all" : found->second};
  });
  router.add("POST", "/v1/disks", {},
             [](const HttpRequest&, const auto&) { return HttpReply{.status = 201}; });
  router.add("POST", "/v1/disks/{}/to/{}", {}, [](const HttpRequest&, const auto& parts) {
    return HttpReply{.status = 200, .body = parts[0] + ">" + parts[1]};
  });
  return router;
}

TEST(Router, FindsTheHandlerByMethodAndPath) {
  const Router router = a_router();
  EXPECT_EQ(ask(router, "GET", "/v1/disks").body, "all");
  EXPECT_EQ(ask(router, "GET", "/v1/disks?x=a%20b").body, "a b");
  EXPECT_EQ(ask(router, "POST", "/v1/disks").status, 201u);
  EXPECT_EQ(ask(router, "POST", "/v1/disks/a%2Fb/to/c").body, "a/b>c");
}

TEST(Router, SaysWhichMethodsThereAre) {
  const HttpReply reply = ask(a_router(), "DELETE", "/v1/disks");
  EXPECT_EQ(reply.status, 405u);
  EXPECT_EQ(reply.allow, "GET, POST");
}

TEST(Router, RefusesWhatItDoesNotKnow) {
  const Router router = a_router();
  for (const char* target : {"/", "/v1", "/v1/disks/a", "/v1/disks/a/to", "/v1/disks/a/to/b/c"}) {
    EXPECT_EQ(ask(router, "GET", target).status, 404u) << target;
  }
  EXPECT_EQ(ask(router, "GET", "/v1/disks?y=1").status, 400u);
  EXPECT_EQ(ask(router, "POST", "/v1/disks?x=1").status, 400u);
}

TEST(HttpTarget, RefusesWhatIsMalformed) {
  for (const char* target : {"", "v1", "*", "http://x/", "//", "/a//b", "/a/", "/./a", "/a/..",
                             "/%2e%2e", "/%", "/%4", "/%zz", "/a?=1", "/a?x=%f"}) {
    EXPECT_FALSE(parse_target(target)) << target;
  }
}

TEST(HttpTarget, WhatIsEncodedIsDecoded) {
  const std::string odd("a/b%c d\xff\n&=?", 12);
  const auto parsed = parse_target("/" + percent_encoded(odd) + "?" + percent_encoded(odd) + "=" +
                                   percent_encoded(odd));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->path, std::vector<std::string>{odd});
  ASSERT_EQ(parsed->query.size(), 1u);
  EXPECT_EQ(parsed->query.begin()->first, odd);
  EXPECT_EQ(parsed->query.begin()->second, odd);
}

}  // namespace
}  // namespace vhdxm::tools
