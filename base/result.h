// Result<T>: a value or an Error. Used by base, vhdx, compression and the sans-I/O part of
// transfer.
//
// boost::system::result of Boost 1.81 is not [[nodiscard]], so this class is.
#pragma once

#include <boost/system/result.hpp>

#include "base/error.h"

namespace vhdxm {

template <class T>
class [[nodiscard]] Result : public boost::system::result<T, Error> {
 public:
  using boost::system::result<T, Error>::result;
};

/// Returns the error of `expression` from the enclosing function, or goes on.
#define VHDXM_TRY_VOID(expression)                                               \
  do {                                                                           \
    if (auto vhdxm_result = (expression); vhdxm_result.has_error()) [[unlikely]] \
      return std::move(vhdxm_result).error();                                    \
  } while (false)

#define VHDXM_CONCAT_INNER(a, b) a##b
#define VHDXM_CONCAT(a, b) VHDXM_CONCAT_INNER(a, b)

/// VHDXM_TRY(auto size, file.size()): declares `size`, or returns the error of the expression.
/// A declaration, not a statement expression: those crash GCC 12 inside a coroutine.
#define VHDXM_TRY(declaration, expression) \
  VHDXM_TRY_AS(VHDXM_CONCAT(vhdxm_result_, __LINE__), declaration, expression)
#define VHDXM_TRY_AS(name, declaration, expression) \
  auto name = (expression);                         \
  if (name.has_error()) [[unlikely]]                \
    return std::move(name).error();                 \
  declaration = std::move(*name)

}  // namespace vhdxm
