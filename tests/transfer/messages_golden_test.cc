// The bytes of the messages that two versions need to understand each other well enough to part:
// they never change, whatever the version.
#include <gtest/gtest.h>

#include <string_view>

#include "tests/transfer/hex_bytes.h"
#include "transfer/messages.h"

namespace vhdxm::transfer {
namespace {

Preamble preamble(ConnectionKind kind) {
  Preamble made{.version = 1, .kind = kind, .job_id = {}};
  for (std::size_t i = 0; i < made.job_id.size(); ++i) {
    made.job_id[i] = static_cast<std::uint8_t>(0xc0 + i);
  }
  return made;
}

StreamToken token() {
  StreamToken made{};
  for (std::size_t i = 0; i < made.size(); ++i) made[i] = static_cast<std::uint8_t>(0xd0 + i);
  return made;
}

/// Both directions.
void expect_golden(const Message& message, std::string_view hex) {
  EXPECT_EQ(to_hex(encode(message)), hex);
  MessageReader reader;
  reader.feed(from_hex(hex));
  auto again = reader.next();
  ASSERT_TRUE(again) << describe(again.error());
  ASSERT_TRUE(again->has_value());
  EXPECT_EQ((**again).index(), message.index());
  EXPECT_EQ(to_hex(encode(**again)), hex);
}

TEST(GoldenMessages, Hello) {
  expect_golden(Hello{.preamble = encode(preamble(ConnectionKind::kOffer)),
                      .features = 0x0102030405060708,
                      .extent_bytes_max = 0x00100000,
                      .streams_wanted = 4,
                      .nonce = 0x1112131415161718,
                      .software = "vhdx-migrate 0.1.0"},
                "4c 00 00 00 01 00 00 00 "
                "56 48 44 58 4d 49 47 52 01 00 01 00 00 00 00 00 "
                "c0 c1 c2 c3 c4 c5 c6 c7 c8 c9 ca cb cc cd ce cf "
                "08 07 06 05 04 03 02 01 00 00 10 00 04 00 18 17 16 15 14 13 12 11 "
                "12 00 00 00 76 68 64 78 2d 6d 69 67 72 61 74 65 20 30 2e 31 2e 30");
}

TEST(GoldenMessages, Welcome) {
  expect_golden(Welcome{.features = 1,
                        .extent_bytes_max = 0x00080000,
                        .streams_max = 8,
                        .credit_bytes = 0x01000000,
                        .nonce = 0x2122232425262728,
                        .software = "x"},
                "23 00 00 00 02 00 00 00 "
                "01 00 00 00 00 00 00 00 00 00 08 00 08 00 00 00 00 01 00 00 00 00 "
                "28 27 26 25 24 23 22 21 01 00 00 00 78");
}

TEST(GoldenMessages, Fail) {
  expect_golden(Fail{.code = 9, .text = "no room"},
                "0d 00 00 00 1a 00 00 00 09 00 07 00 00 00 6e 6f 20 72 6f 6f 6d");
}

TEST(GoldenMessages, Join) {
  expect_golden(Join{.preamble = encode(preamble(ConnectionKind::kJobData)),
                     .stream = 0x31323334,
                     .token = token()},
                "34 00 00 00 1d 00 00 00 "
                "56 48 44 58 4d 49 47 52 01 00 03 00 00 00 00 00 "
                "c0 c1 c2 c3 c4 c5 c6 c7 c8 c9 ca cb cc cd ce cf "
                "34 33 32 31 d0 d1 d2 d3 d4 d5 d6 d7 d8 d9 da db dc dd de df");
}

TEST(GoldenMessages, JoinReply) {
  expect_golden(JoinReply{.stream = 0x31323334}, "04 00 00 00 1e 00 00 00 34 33 32 31");
}

}  // namespace
}  // namespace vhdxm::transfer
