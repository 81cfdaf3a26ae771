// Why a command did not do what it was asked for, in words for the person who asked.
#pragma once

#include <boost/system/result.hpp>
#include <string>

#include "base/result.h"
#include "tools/exit_codes.h"
#include "transfer/errc.h"

namespace vhdxm::tools {

struct CommandFailure {
  std::string message;  ///< The thing, what was expected and what was found: one sentence.
  std::string advice;   ///< What to do next; may be empty.
  ExitCode exit = ExitCode::kFailed;
  std::string ownership;  ///< Who owns the disk now; empty where the command cannot change that.
};

/// The exit code of a command that ran to its end, or why it did not.
class [[nodiscard]] CommandResult : public boost::system::result<ExitCode, CommandFailure> {
 public:
  using boost::system::result<ExitCode, CommandFailure>::result;
};
[[noreturn]] void throw_exception_from_error(const CommandFailure& failure,
                                             const boost::source_location&);

/// The file of an Error's subject, which may go on to name a part of it: "a.vhdx, region {...}".
std::string file_in_subject(const std::string& subject);

CommandFailure usage_failure(std::string message, std::string advice);

/// Of an error on this host. The advice depends on what went wrong.
CommandFailure failure_of(const Error& error);
CommandFailure failure_of(const transfer::Failure& failure);

/// The person asked for the end, by Ctrl-C or SIGTERM. `message` says what is left behind.
CommandFailure interrupted(std::string message, std::string advice = {});

/// VHDXM_TRY for functions that return a CommandFailure.
#define VHDXM_COMMAND_TRY(declaration, expression) \
  VHDXM_COMMAND_TRY_AS(VHDXM_CONCAT(vhdxm_result_, __LINE__), declaration, expression)
#define VHDXM_COMMAND_TRY_AS(name, declaration, expression) \
  auto name = (expression);                                 \
  if (name.has_error()) [[unlikely]]                        \
    return ::vhdxm::tools::failure_of(name.error());        \
  declaration = std::move(*name)
#define VHDXM_COMMAND_TRY_VOID(expression)                                       \
  do {                                                                           \
    if (auto vhdxm_result = (expression); vhdxm_result.has_error()) [[unlikely]] \
      return ::vhdxm::tools::failure_of(vhdxm_result.error());                   \
  } while (false)

}  // namespace vhdxm::tools
