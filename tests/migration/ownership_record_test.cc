#include "migration/ownership_record.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/little_endian.h"
#include "migration/errc.h"
#include "tests/migration/sample_job.h"
#include "tests/support/expect_error.h"

namespace vhdxm::migration {
namespace {

using test::failed_with;
using test::succeeded;

OwnershipRecord sample(OwnershipState state) {
  return {.id = sample_id<OwnershipId>(0x11),
          .epoch = 0x0102030405060708 >> 3,
          .state = state,
          .job = sample_job_id(0x22),
          .attempt = sample_id<AttemptId>(0x33),
          .source = sample_id<HostId>(0x44),
          .target = sample_id<HostId>(0x55),
          .ledger = {0x6666, 0x7777}};
}

// With its CRC made good.
Result<OwnershipRecord> decode_changed(std::size_t at, std::uint8_t value) {
  auto bytes = encode(sample(OwnershipState::kHandover));
  bytes[at] = static_cast<std::byte>(value);
  store_raw(bytes.data() + 12, Le32(0));
  store_raw(bytes.data() + 12, Le32(crc32c(bytes)));
  return decode_ownership(bytes);
}

TEST(OwnershipRecord, EveryStateComesBackAsItWas) {
  for (const auto state :
       {OwnershipState::kOwned, OwnershipState::kHandover, OwnershipState::kReleased,
        OwnershipState::kReceiving, OwnershipState::kIncoming}) {
    const auto decoded = decode_ownership(encode(sample(state)));
    ASSERT_TRUE(succeeded(decoded)) << to_string(state);
    EXPECT_EQ(*decoded, sample(state));
  }
}

// Files of earlier versions must stay readable: these bytes never change.
TEST(OwnershipRecord, HasTheseBytes) {
  const auto bytes =
      encode({.id = sample_id<OwnershipId>(0x11), .epoch = 3, .state = OwnershipState::kOwned});
  ASSERT_EQ(bytes.size(), 128U);
  std::vector<std::byte> expected(128);
  const std::string magic = "VHDXMOWN";
  for (std::size_t i = 0; i < 8; ++i) expected[i] = static_cast<std::byte>(magic[i]);
  expected[8] = std::byte{1};
  expected[10] = std::byte{1};
  for (std::size_t i = 16; i < 32; ++i) expected[i] = std::byte{0x11};
  expected[32] = std::byte{3};
  store_raw(expected.data() + 12, Le32(crc32c(expected)));
  EXPECT_EQ(bytes, expected);
}

TEST(OwnershipRecord, AnyDamagedBitIsRefused) {
  const auto bytes = encode(sample(OwnershipState::kReleased));
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_TRUE(decode_ownership(damaged).has_error()) << bit;
  }
}

TEST(OwnershipRecord, AnyOtherLengthIsRefused) {
  auto bytes = encode(sample(OwnershipState::kOwned));
  EXPECT_TRUE(failed_with(decode_ownership(std::span(bytes).first(127)), Errc::kRecord, "length"));
  EXPECT_TRUE(failed_with(decode_ownership({}), Errc::kRecord, "length"));
  bytes.push_back(std::byte{0});
  EXPECT_TRUE(failed_with(decode_ownership(bytes), Errc::kRecord, "length"));
}

TEST(OwnershipRecord, EachRuleIsKept) {
  EXPECT_TRUE(failed_with(decode_changed(0, 'X'), Errc::kRecord, "magic"));
  EXPECT_TRUE(failed_with(decode_changed(8, 2), Errc::kVersion, "version"));
  EXPECT_TRUE(failed_with(decode_changed(10, 0), Errc::kRecord, "state"));
  EXPECT_TRUE(failed_with(decode_changed(10, 6), Errc::kRecord, "state"));
  EXPECT_TRUE(failed_with(decode_changed(11, 1), Errc::kRecord, "reserved"));
  EXPECT_TRUE(failed_with(decode_changed(120, 1), Errc::kRecord, "reserved"));
  EXPECT_TRUE(failed_with(decode_changed(39, 0xff), Errc::kRecord, "epoch"));
}

TEST(OwnershipRecord, AnIdOfZeroIsRefused) {
  auto record = sample(OwnershipState::kOwned);
  record.id = {};
  EXPECT_TRUE(failed_with(decode_ownership(encode(record)), Errc::kRecord, "id is zero"));
  record = sample(OwnershipState::kOwned);
  record.epoch = 0;
  EXPECT_TRUE(failed_with(decode_ownership(encode(record)), Errc::kRecord, "epoch"));
  record = sample(OwnershipState::kHandover);
  record.job = {};
  EXPECT_TRUE(failed_with(decode_ownership(encode(record)), Errc::kRecord, "without a job"));
}

}  // namespace
}  // namespace vhdxm::migration
