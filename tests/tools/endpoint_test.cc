#include "tools/endpoint.h"

#include <gtest/gtest.h>

#include <array>

namespace vhdxm::tools {
namespace {

struct Good {
  const char* text;
  Endpoint endpoint;
};

TEST(Endpoint, TakesNamesAndAddressesWithAndWithoutPort) {
  const std::array cases = {
      Good{"web", {"web", std::nullopt}},
      Good{"web:6600", {"web", 6600}},
      Good{"web.example.org:0", {"web.example.org", 0}},
      Good{"10.0.0.5", {"10.0.0.5", std::nullopt}},
      Good{"10.0.0.5:65535", {"10.0.0.5", 65535}},
      Good{"[::1]", {"::1", std::nullopt}},
      Good{"[2001:db8::7]:7000", {"2001:db8::7", 7000}},
      Good{"[fe80::1%eth0]:1", {"fe80::1%eth0", 1}},
      Good{"::1", {"::1", std::nullopt}},
      Good{"2001:db8::7:6600", {"2001:db8::7:6600", std::nullopt}},
  };
  for (const Good& good : cases) {
    EXPECT_EQ(parse_endpoint(good.text), good.endpoint) << good.text;
    EXPECT_EQ(parse_listen_endpoint(good.text), good.endpoint) << good.text;
  }
}

TEST(Endpoint, RefusesWhatIsNoEndpoint) {
  for (const char* text :
       {"", ":", "web:", "web:x", "web:65536", "web:-1", "web: 1", "we b", "[]", "[]:1", "[::1",
        "[::1]x", "[::1]:", "[::1]6600", "a/b", "we\nb", "]:1"}) {
    EXPECT_EQ(parse_endpoint(text), std::nullopt) << text;
    EXPECT_EQ(parse_listen_endpoint(text), std::nullopt) << text;
  }
}

TEST(Endpoint, AnEmptyHostIsForListeningOnly) {
  EXPECT_EQ(parse_endpoint(":6600"), std::nullopt);
  EXPECT_EQ(parse_listen_endpoint(":6600"), (Endpoint{"", 6600}));
}

TEST(Endpoint, AddressesWithColonsAreWrittenInBrackets) {
  EXPECT_EQ(to_text("web", 6600), "web:6600");
  EXPECT_EQ(to_text("::1", 1), "[::1]:1");
}

}  // namespace
}  // namespace vhdxm::tools
