#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/result.h"

namespace vhdxm {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) {
    return Error{.code = BaseErrc::kInvalidArgument, .where = "odd number", .found = 3};
  }
  return value / 2;
}

Result<int> quarter(int value) {
  VHDXM_TRY(const int once, half(value));
  VHDXM_TRY(const int twice, half(once));
  return twice;
}

Result<void> check(int value) {
  VHDXM_TRY_VOID(half(value));
  return {};
}

TEST(Error, DescribesSubjectWhatWherePlaceAndValues) {
  const Error error{.code = BaseErrc::kShortRead,
                    .where = "region table",
                    .offset = 196608,
                    .found = 10,
                    .expected = 65536,
                    .subject = "disk.vhdx"};
  EXPECT_EQ(describe(error),
            "disk.vhdx: the file ends too early: region table at byte 196608 (found 10, expected "
            "65536)");
}

TEST(Error, DescribesOnlyWhatIsKnown) {
  EXPECT_EQ(describe({.code = BaseErrc::kCancelled}), "cancelled");
  EXPECT_EQ(describe({.code = BaseErrc::kOutOfRange, .found = 7}), "out of range (found 7)");
  EXPECT_EQ(describe({.code = BaseErrc::kOutOfRange, .expected = 8}), "out of range (expected 8)");
  EXPECT_EQ(describe({.code = BaseErrc::kOutOfRange, .offset = 0}), "out of range at byte 0");
}

TEST(Error, EveryBaseErrcHasASentence) {
  for (int value = 1; value <= 5; ++value) {
    const std::string text = make_error_code(static_cast<BaseErrc>(value)).message();
    EXPECT_NE(text, "unknown error") << value;
    EXPECT_FALSE(text.empty()) << value;
  }
}

TEST(Error, TheFirstNameStays) {
  auto error = Error{.code = BaseErrc::kInjected}.about("inner.vhdx");
  error = std::move(error).about("outer.vhdx");
  EXPECT_EQ(error.subject, "inner.vhdx");
}

TEST(Error, OfErrnoIsTheSystems) {
  errno = ENOENT;
  const Error error = errno_error("open", 5);
  EXPECT_EQ(error.code, boost::system::errc::no_such_file_or_directory);
  EXPECT_STREQ(error.where, "open");
  EXPECT_EQ(error.offset, 5U);
}

TEST(Result, TryPassesValuesAndErrorsOn) {
  EXPECT_EQ(quarter(8).value(), 2);
  ASSERT_TRUE(quarter(6).has_error());
  EXPECT_EQ(quarter(6).error().code, BaseErrc::kInvalidArgument);
  EXPECT_FALSE(check(2).has_error());
  EXPECT_TRUE(check(1).has_error());
}

TEST(Result, ValueOfAnErrorThrowsTheWholeError) {
  try {
    (void)quarter(3).value();
    FAIL() << "no exception";
  } catch (const ErrorException& exception) {
    EXPECT_EQ(exception.error().found, 3U);
    EXPECT_STREQ(exception.error().where, "odd number");
    EXPECT_EQ(exception.code(), BaseErrc::kInvalidArgument);
  }
}

}  // namespace
}  // namespace vhdxm
