#include "transfer/preamble.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/random_seed.h"
#include "tests/transfer/hex_bytes.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

JobId counting_id() {
  JobId id{};
  for (std::size_t i = 0; i < id.size(); ++i) id[i] = static_cast<std::uint8_t>(0xa0 + i);
  return id;
}

Preamble sample() {
  return Preamble{.kind = ConnectionKind::kJobData, .job_id = counting_id()};
}

PreambleBytes with(PreambleBytes bytes, std::size_t at, unsigned value) {
  bytes[at] = static_cast<std::byte>(value);
  return bytes;
}

// Golden: these bytes stand on the wire of every version and never change.
TEST(Preamble, GoldenBytes) {
  Preamble preamble = sample();
  preamble.version = 2;
  EXPECT_EQ(to_hex(encode(preamble)),
            "56 48 44 58 4d 49 47 52 02 00 03 00 00 00 00 00 "
            "a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 aa ab ac ad ae af");
}

TEST(Refusal, GoldenBytes) {
  EXPECT_EQ(to_hex(encode(
                Refusal{.reason = RefusalReason::kBusy, .version_min = 1, .version_max = 0x203})),
            "56 48 44 58 4d 52 45 46 01 00 03 02 03 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
}

TEST(Preamble, EveryKindComesBack) {
  for (const ConnectionKind kind :
       {ConnectionKind::kOffer, ConnectionKind::kJobControl, ConnectionKind::kJobData,
        ConnectionKind::kKerberosOffer, ConnectionKind::kForward}) {
    Preamble preamble = sample();
    preamble.kind = kind;
    const Result<Preamble> again = decode_preamble(encode(preamble));
    ASSERT_TRUE(again);
    EXPECT_EQ(*again, preamble);
  }
}

TEST(Preamble, EveryByteButTheIdMatters) {
  const PreambleBytes good = encode(sample());
  for (std::size_t at = 0; at < good.size(); ++at) {
    const Result<Preamble> result = decode_preamble(with(good, at, 0xee));
    if (at >= 16) {
      EXPECT_TRUE(result) << "the id is any 16 bytes";
    } else if (at == 8 || at == 9) {
      ASSERT_TRUE(result.has_error());
      EXPECT_EQ(result.error().code, Errc::kVersion);
    } else {
      ASSERT_TRUE(result.has_error()) << at;
      EXPECT_EQ(result.error().code, Errc::kNotOurProtocol);
    }
  }
}

TEST(Preamble, OtherVersionIsToldBeforeAllElse) {
  // Of another version everything behind the version may mean something else.
  PreambleBytes bytes = encode(sample());
  std::fill(bytes.begin() + 10, bytes.end(), std::byte{0xff});
  bytes[8] = std::byte{kProtocolVersion + 1};
  const Result<Preamble> result = decode_preamble(bytes);
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, Errc::kVersion);
  EXPECT_EQ(result.error().found, kProtocolVersion + 1u);
  EXPECT_EQ(result.error().expected, kProtocolVersion);
}

TEST(Preamble, KindOutOfRangeIsRefused) {
  const PreambleBytes good = encode(sample());
  for (const unsigned kind : {0u, 6u, 255u}) {
    const Result<Preamble> result = decode_preamble(with(good, 10, kind));
    ASSERT_TRUE(result.has_error());
    EXPECT_EQ(result.error().code, Errc::kNotOurProtocol);
    EXPECT_EQ(result.error().found, kind);
  }
}

TEST(Refusal, EveryReasonComesBack) {
  for (const RefusalReason reason :
       {RefusalReason::kVersion, RefusalReason::kKind, RefusalReason::kBusy}) {
    const Refusal refusal{.reason = reason, .version_min = 1, .version_max = 7};
    const Result<Refusal> again = decode_refusal(encode(refusal));
    ASSERT_TRUE(again);
    EXPECT_EQ(*again, refusal);
  }
}

TEST(Refusal, EveryByteMatters) {
  const PreambleBytes good = encode(Refusal{});
  for (std::size_t at = 0; at < good.size(); ++at) {
    if (at >= 10 && at <= 11) continue;  // the greatest version: any number
    const Result<Refusal> result = decode_refusal(with(good, at, 0xee));
    ASSERT_TRUE(result.has_error()) << at;
    EXPECT_EQ(result.error().code, Errc::kNotOurProtocol);
  }
}

TEST(Refusal, IsNeitherAPreambleNorTls) {
  const PreambleBytes refusal = encode(Refusal{});
  EXPECT_TRUE(decode_preamble(refusal).has_error());
  EXPECT_TRUE(decode_refusal(encode(sample())).has_error());
  for (const unsigned record_type : {0x14u, 0x15u, 0x16u, 0x17u, 0x18u}) {
    EXPECT_NE(std::to_integer<unsigned>(refusal[0]), record_type);
  }
}

TEST(Preamble, RandomBytesAreRefusedOrComeBackTheSame) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20'000; ++round) {
    PreambleBytes bytes = encode(sample());
    for (int change = 0; change < 3; ++change) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    const Result<Preamble> preamble = decode_preamble(bytes);
    if (preamble) {
      EXPECT_EQ(encode(*preamble), bytes);
    }
  }
}

}  // namespace
}  // namespace vhdxm::transfer
