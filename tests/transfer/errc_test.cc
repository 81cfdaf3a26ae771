#include "transfer/errc.h"

#include <gtest/gtest.h>

#include <boost/asio/error.hpp>
#include <cerrno>
#include <set>
#include <string>

#include "transfer/progress.h"
#include "vhdx/errc.h"

namespace vhdxm::transfer {
namespace {

FailureClass class_of(const error_code& code) {
  return classify(Error{.code = code});
}

error_code system_code(int number) {
  return {number, boost::system::system_category()};
}

TEST(Errc, EveryValueHasASentenceOfItsOwn) {
  std::set<std::string> sentences;
  for (int value = 1; value <= static_cast<int>(kErrcLast); ++value) {
    const error_code code = static_cast<Errc>(value);
    EXPECT_NE(code.message(), "unknown error") << value;
    EXPECT_TRUE(sentences.insert(code.message()).second) << value;
  }
  EXPECT_EQ(error_code(static_cast<Errc>(999)).message(), "unknown error");
}

TEST(Errc, ClassSaysWhoMustActNext) {
  EXPECT_EQ(class_of(Errc::kAuthentication), FailureClass::kAuthentication);
  EXPECT_EQ(class_of(Errc::kRefused), FailureClass::kAuthentication);
  EXPECT_EQ(class_of(Errc::kNameTaken), FailureClass::kIncompatible);
  EXPECT_EQ(class_of(Errc::kNoSpace), FailureClass::kIncompatible);
  EXPECT_EQ(class_of(Errc::kVersion), FailureClass::kIncompatible);
  EXPECT_EQ(class_of(Errc::kLedgerMismatch), FailureClass::kData);
  EXPECT_EQ(class_of(Errc::kVerifyMismatch), FailureClass::kData);
  EXPECT_EQ(class_of(Errc::kTimeout), FailureClass::kNetwork);
  EXPECT_EQ(class_of(Errc::kBusy), FailureClass::kNetwork);
  EXPECT_EQ(class_of(Errc::kProtocol), FailureClass::kFailed);
  EXPECT_EQ(class_of(static_cast<Errc>(999)), FailureClass::kFailed);
}

TEST(Errc, ErrorsOfOtherLayersHaveAClass) {
  EXPECT_EQ(class_of(BaseErrc::kCancelled), FailureClass::kCancelled);
  EXPECT_EQ(class_of(BaseErrc::kInvalidArgument), FailureClass::kUsage);
  EXPECT_EQ(class_of(vhdx::Errc::kBadBatEntry), FailureClass::kData);
  EXPECT_EQ(class_of(vhdx::Errc::kUnknownRequiredItem), FailureClass::kIncompatible);
  EXPECT_EQ(class_of(system_code(ECONNREFUSED)), FailureClass::kNetwork);
  EXPECT_EQ(class_of(system_code(EHOSTUNREACH)), FailureClass::kNetwork);
  EXPECT_EQ(class_of(system_code(EIO)), FailureClass::kFailed) << "a disk's, most likely";
  EXPECT_EQ(class_of(boost::asio::error::eof), FailureClass::kNetwork);
  EXPECT_EQ(class_of(boost::asio::error::host_not_found), FailureClass::kNetwork);
}

TEST(Progress, EveryPhaseHasAName) {
  std::set<std::string> names;
  for (int value = 0; value <= static_cast<int>(Phase::kDone); ++value) {
    const std::string name = to_string(static_cast<Phase>(value));
    EXPECT_NE(name, "unknown");
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

}  // namespace
}  // namespace vhdxm::transfer
