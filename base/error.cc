#include "base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

namespace vhdxm {
namespace {

class BaseCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "vhdx-migrate"; }
  std::string message(int value) const override {
    switch (static_cast<BaseErrc>(value)) {
      case BaseErrc::kShortRead:
        return "the file ends too early";
      case BaseErrc::kOutOfRange:
        return "out of range";
      case BaseErrc::kInvalidArgument:
        return "a value that cannot be used";
      case BaseErrc::kCancelled:
        return "cancelled";
      case BaseErrc::kInjected:
        return "a fault that a test injected";
    }
    return "unknown error";
  }
};

}  // namespace

error_code make_error_code(BaseErrc errc) {
  static const BaseCategory category;
  return {static_cast<int>(errc), category};
}

Error Error::about(const std::string& name) && {
  if (subject.empty()) subject = name;
  return std::move(*this);
}

std::string describe(const Error& error) {
  std::string text;
  if (!error.subject.empty()) text += error.subject + ": ";
  text += error.code.message();
  if (*error.where != '\0') text += fmt::format(": {}", error.where);
  if (error.offset != Error::kNoOffset) text += fmt::format(" at byte {}", error.offset);
  if (error.found && error.expected) {
    text += fmt::format(" (found {}, expected {})", *error.found, *error.expected);
  } else if (error.found) {
    text += fmt::format(" (found {})", *error.found);
  } else if (error.expected) {
    text += fmt::format(" (expected {})", *error.expected);
  }
  return text;
}

ErrorException::ErrorException(Error error)
    : boost::system::system_error(error.code, error.where), error_(std::move(error)) {}

void throw_exception_from_error(const Error& error, const boost::source_location&) {
  throw ErrorException(error);
}

Error errno_error(const char* where, std::uint64_t offset) {
  return Error{.code = error_code(errno, boost::system::system_category()),
               .where = where,
               .offset = offset};
}

}  // namespace vhdxm
