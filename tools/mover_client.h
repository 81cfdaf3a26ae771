// The service's end of a mover's control socket (docs/mover.md).
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <optional>
#include <string>

#include "base/result.h"

namespace vhdxm::tools {

/// Thread safety: one thread at a time; cancel() from any.
class MoverClient {
 public:
  using Patience = std::chrono::milliseconds;

  /// Errors: the system's; ECONNREFUSED or ENOENT where nobody listens.
  static Result<MoverClient> connect(const std::string& path);
  MoverClient(MoverClient&& other) noexcept;
  MoverClient& operator=(MoverClient&&) = delete;
  ~MoverClient();

  /// Sends a request and waits for its answer; what is published in between is dropped. `fields`:
  /// without op; version is put in. An answer with "error" is an answer.
  /// Errors: ETIMEDOUT; kShortRead if the mover has gone; kInvalidArgument of an answer that is
  /// none.
  Result<boost::json::object> ask(const std::string& op, boost::json::object fields,
                                  Patience patience);
  /// The next line, whatever it is; nothing when the mover has gone or cancel() was called.
  Result<std::optional<boost::json::object>> next(std::optional<Patience> patience);
  /// Makes next() return, now and ever after.
  void cancel();

 private:
  explicit MoverClient(int fd) : fd_(fd) {}

  int fd_;
  std::string in_;
};

/// A connection to who listens at that path, for the caller to close. Errors: the system's.
Result<int> connect_local(const std::string& path);

/// connect() and ask() in one.
Result<boost::json::object> ask_mover(const std::string& path, const std::string& op,
                                      boost::json::object fields, MoverClient::Patience patience);

/// The text of a member; empty if there is none.
std::string text_of(const boost::json::object& object, const char* name);
/// The whole number of a member; 0 if there is none.
std::uint64_t number_of(const boost::json::object& object, const char* name);

}  // namespace vhdxm::tools
