// Expectations about a Result: that it succeeded, or that it failed with a code and a telling text.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace vhdxm::test {

/// `part`: a piece of what describe() says.
template <class T, class E>
testing::AssertionResult failed_with(const Result<T>& result, E errc, std::string_view part = "") {
  if (!result.has_error()) return testing::AssertionFailure() << "it did not fail";
  const std::string text = describe(result.error());
  if (result.error().code != make_error_code(errc)) {
    return testing::AssertionFailure() << "it failed otherwise: " << text;
  }
  if (text.find(part) == std::string::npos) {
    return testing::AssertionFailure() << "the message lacks \"" << part << "\": " << text;
  }
  return testing::AssertionSuccess() << text;
}

template <class T>
testing::AssertionResult succeeded(const Result<T>& result) {
  if (result.has_error()) return testing::AssertionFailure() << describe(result.error());
  return testing::AssertionSuccess();
}

}  // namespace vhdxm::test
