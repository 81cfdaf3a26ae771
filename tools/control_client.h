// A command's end of the control API: one request, one answer.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <boost/system/result.hpp>
#include <optional>
#include <string>

#include "tools/command_failure.h"
#include "tools/options.h"

namespace vhdxm::tools {

inline constexpr const char* kControlSocket = "/run/vhdx-migrate/control.sock";

/// Thread safety: from any thread; each request has a connection of its own.
class ControlClient {
 public:
  using Reply = boost::system::result<boost::json::object, CommandFailure>;

  explicit ControlClient(std::string socket) : socket_(std::move(socket)) {}

  /// The answer's object. Failures: no service answers; what the service said, with its exit code.
  Reply ask(const std::string& method, const std::string& target,
            const std::optional<boost::json::object>& body = {}) const;

 private:
  const std::string socket_;
};

/// The option --control and its variable.
void add_control_option(OptionSet& options, std::string& socket);

}  // namespace vhdxm::tools
