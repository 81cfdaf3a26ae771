// What went wrong, where, and in which file or with which peer.
//
// An Error is made without allocating (codes and static text); the layer that
// knows the file or peer adds its name on the way up with about().
#pragma once

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>
#include <cstdint>
#include <optional>
#include <string>

namespace vhdxm {

using boost::system::error_code;

/// Failures of the base layer that are not an errno. Values are never renumbered.
enum class BaseErrc {
  kShortRead = 1,        ///< The file ends before the bytes that were asked for.
  kOutOfRange = 2,       ///< An offset or a length lies outside what the object holds.
  kInvalidArgument = 3,  ///< A value that the caller gave cannot be used.
  kCancelled = 4,        ///< Somebody asked for the work to stop.
  kInjected = 5,         ///< A fault that a test asked for.
};

error_code make_error_code(BaseErrc errc);

struct Error {
  static constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

  error_code code;
  /// Which field, rule or operation; static storage, e.g. "log entry EntryLength
  /// [MS-VHDX] 2.3.1.1".
  const char* where = "";
  /// Units: bytes from the start of the file (or of the message). kNoOffset: not tied to a place.
  std::uint64_t offset = kNoOffset;
  std::optional<std::uint64_t> found = std::nullopt;
  std::optional<std::uint64_t> expected = std::nullopt;
  /// The file or the peer; empty until a layer that knows it says so.
  std::string subject = {};

  /// Names the thing this error is about, unless it is named already.
  Error about(const std::string& name) &&;
};

/// One sentence for a person: subject, what, where, found and expected.
std::string describe(const Error& error);

/// An Error on its way up through code that reports by exception (coroutines, `value()`).
class ErrorException : public boost::system::system_error {
 public:
  explicit ErrorException(Error error);
  const Error& error() const { return error_; }

 private:
  Error error_;
};

/// Called by Result<T>::value() through argument-dependent lookup.
[[noreturn]] void throw_exception_from_error(const Error& error, const boost::source_location&);

/// An Error for errno as the last system call left it.
Error errno_error(const char* where, std::uint64_t offset = Error::kNoOffset);

}  // namespace vhdxm

template <>
struct boost::system::is_error_code_enum<vhdxm::BaseErrc> : std::true_type {};
