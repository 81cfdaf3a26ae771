#include "vhdx/parent_locator.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/errc.h"
#include "vhdx/format.h"

namespace vhdxm::vhdx {
namespace {

using test::encode_locator;
using test::failed_with;
using test::succeeded;
using Bytes = std::vector<std::byte>;

const std::string kLinkage = "{83ed0ec3-24c8-49a6-a959-5e4bf1288bfb}";
constexpr std::uint64_t kItemAt = 1000;

Bytes item() {
  return encode_locator({{"parent_linkage", kLinkage}, {"relative_path", ".\\base.vhdx"}});
}

template <class T>
Bytes with(Bytes bytes, std::size_t offset, T value) {
  store_raw(bytes.data() + offset, value);
  return bytes;
}

TEST(ParentLocatorItem, IsReadInFileOrder) {
  const auto locator = parse_parent_locator(item(), kItemAt);
  ASSERT_TRUE(succeeded(locator));
  EXPECT_EQ(*locator,
            (ParentLocator{{{"parent_linkage", kLinkage}, {"relative_path", ".\\base.vhdx"}}}));
}

TEST(ParentLocatorItem, OtherTypesAreRefused) {
  const auto bytes = with(item(), 0, Le16(0));
  EXPECT_TRUE(failed_with(parse_parent_locator(bytes, kItemAt), Errc::kUnknownParentType,
                          "locator type b04a0000-d19e"));
}

TEST(ParentLocatorItem, EntriesMustFitIntoTheItem) {
  EXPECT_TRUE(failed_with(parse_parent_locator(Bytes(19), kItemAt), Errc::kBadParentLocator,
                          "shorter than its header"));
  EXPECT_TRUE(failed_with(parse_parent_locator(with(item(), 18, Le16(0xffff)), kItemAt),
                          Errc::kBadParentLocator, "KeyValueCount"));
}

TEST(ParentLocatorItem, StringsMustLieInsideTheItem) {
  for (const std::uint32_t offset : {0xffffffffU, 0xfffffff0U}) {
    for (const std::size_t field : {std::size_t{20}, std::size_t{24}}) {
      EXPECT_TRUE(failed_with(parse_parent_locator(with(item(), field, Le32(offset)), kItemAt),
                              Errc::kBadParentLocator, "a string lies outside the item"));
    }
  }
  EXPECT_TRUE(failed_with(parse_parent_locator(with(item(), 28, Le16(0xfffe)), kItemAt),
                          Errc::kBadParentLocator, "longer than the item"));
}

TEST(ParentLocatorItem, OddLengthsAreRefused) {
  EXPECT_TRUE(failed_with(parse_parent_locator(with(item(), 28, Le16(27)), kItemAt),
                          Errc::kBadParentLocator, "UTF-16"));
}

TEST(ParentLocatorItem, NulsAndLoneSurrogatesAreRefused) {
  const std::size_t first_key = 20 + 2 * 12;
  EXPECT_TRUE(failed_with(parse_parent_locator(with(item(), first_key, Le16(0)), kItemAt),
                          Errc::kBadParentLocator, "without NUL"));
  for (const char16_t unit : {char16_t{0xd800}, char16_t{0xdfff}}) {
    EXPECT_TRUE(failed_with(
        parse_parent_locator(with(item(), first_key, Le16(std::uint16_t{unit})), kItemAt),
        Errc::kBadParentLocator, "UTF-16"));
  }
}

TEST(ParentLocatorItem, EmptyKeysAreRefusedAndEmptyValuesAreNot) {
  EXPECT_TRUE(failed_with(parse_parent_locator(with(item(), 28, Le16(0)), kItemAt),
                          Errc::kBadParentLocator, "KeyLength"));
  auto bytes = with(item(), 20 + 12 + 10, Le16(0));
  bytes = with(bytes, 20 + 12 + 4, Le32(0xffffffff));
  const auto locator = parse_parent_locator(bytes, kItemAt);
  ASSERT_TRUE(succeeded(locator));
  EXPECT_EQ(*locator->find("relative_path"), "");
}

TEST(ParentLocatorItem, RepeatedKeysAreRefused) {
  const auto bytes = encode_locator({{"parent_linkage", kLinkage}, {"a", "1"}, {"a", "2"}});
  EXPECT_TRUE(failed_with(parse_parent_locator(bytes, kItemAt), Errc::kBadParentLocator, "key a"));
}

TEST(ParentLocatorItem, ALinkageIsNeeded) {
  EXPECT_TRUE(failed_with(parse_parent_locator(encode_locator({{"relative_path", "x"}}), kItemAt),
                          Errc::kBadParentLocator, "parent_linkage"));
  EXPECT_TRUE(
      failed_with(parse_parent_locator(encode_locator({{"parent_linkage", "{12}"}}), kItemAt),
                  Errc::kBadParentLocator, "parent_linkage"));
}

TEST(ParentLocatorItem, ManyEntriesOnOneStringDoNotMultiplyIt) {
  // 65535 entries, each with a key of 2 bytes of its own and the same 64 KiB as its value.
  constexpr std::size_t kCount = 65535;
  Bytes bytes(kMetadataItemBytesMax, std::byte{'a'});
  store_raw(bytes.data(),
            RawParentLocatorHeader{
                .locator_type = kVhdxParentLocatorType, .reserved = 0, .key_value_count = kCount});
  for (std::size_t i = 0; i < kCount; ++i) {
    store_raw(
        bytes.data() + 20 + 12 * i,
        RawParentLocatorEntry{.key_offset = static_cast<std::uint32_t>(bytes.size() - 65534),
                              .value_offset = static_cast<std::uint32_t>(bytes.size() - 65534),
                              .key_length = 2,
                              .value_length = 65534});
  }
  EXPECT_TRUE(failed_with(parse_parent_locator(bytes, kItemAt), Errc::kBadParentLocator));
}

TEST(ParentLocatorItem, WhatIsEncodedIsReadBack) {
  const ParentLocator locator{{{"parent_linkage", kLinkage},
                               {"relative_path",
                                "..\\Gr\xc3\xbc\xc3\x9f"
                                "e\\\xf0\x9f\x92\xbe.vhdx"},
                               {"volume_path", ""}}};
  const auto bytes = encode_parent_locator(locator);
  ASSERT_TRUE(succeeded(bytes));
  const auto read = parse_parent_locator(*bytes, kItemAt);
  ASSERT_TRUE(succeeded(read));
  EXPECT_EQ(*read, locator);
}

TEST(ParentLocatorItem, EncodesTheBytesOfTheSpecification) {
  const ParentLocator locator{{{"parent_linkage", kLinkage}, {"relative_path", ".\\base.vhdx"}}};
  const auto bytes = encode_parent_locator(locator);
  ASSERT_TRUE(succeeded(bytes));
  EXPECT_EQ(*bytes, item());
}

TEST(ParentLocatorItem, WhatCannotBeEncodedIsRefused) {
  const auto encode = [](std::string key, std::string value) {
    return encode_parent_locator({{{std::move(key), std::move(value)}}});
  };
  EXPECT_TRUE(failed_with(encode("", "x"), Errc::kBadParentLocator));
  EXPECT_TRUE(failed_with(encode("k", "\xff"), Errc::kBadParentLocator));
  EXPECT_TRUE(failed_with(encode("k", std::string(1, '\0')), Errc::kBadParentLocator));
  EXPECT_TRUE(failed_with(encode("k", std::string(32768, 'x')), Errc::kBadParentLocator));
  EXPECT_TRUE(succeeded(encode("k", std::string(32767, 'x'))));
  EXPECT_TRUE(
      failed_with(encode_parent_locator({{{"k", "1"}, {"k", "2"}}}), Errc::kBadParentLocator));
  ParentLocator large;
  for (int i = 0; i < 20; ++i) {
    large.entries.emplace_back("k" + std::to_string(i), std::string(32000, 'x'));
  }
  EXPECT_TRUE(failed_with(encode_parent_locator(large), Errc::kBadParentLocator, "2.6.1.2"));
}

}  // namespace
}  // namespace vhdxm::vhdx
