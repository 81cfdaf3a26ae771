#include "tools/command_line.h"

#include <fmt/format.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

#include "tools/command_list.h"
#include "tools/help_text.h"
#include "tools/json_output.h"
#include "tools/printable_text.h"

namespace vhdxm::tools {
namespace {

constexpr const char* kVersion = VHDXM_VERSION;

struct CommonOptions {
  bool json = false;
  std::string progress = "auto";
};

/// The command line, cut at the command's name.
struct Parts {
  std::string command;
  std::vector<std::string> arguments;  ///< Common options in front of the command included.
  bool help = false;
  bool version = false;
  std::string unknown;  ///< An option in front of the command that only a command has.
};

Parts split(const std::vector<std::string>& words) {
  Parts parts;
  std::size_t i = 0;
  for (; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!word.starts_with('-')) break;
    if (word == "-h" || word == "--help") {
      parts.help = true;
    } else if (word == "--version") {
      parts.version = true;
    } else if (word == "--json" || word.starts_with("--progress=")) {
      parts.arguments.push_back(word);
    } else if (word == "--progress" && i + 1 < words.size()) {
      parts.arguments.push_back(word);
      parts.arguments.push_back(words[++i]);
    } else if (parts.unknown.empty()) {
      parts.unknown = word;
    }
  }
  if (i < words.size()) parts.command = words[i++];
  for (; i < words.size(); ++i) parts.arguments.push_back(words[i]);
  return parts;
}

/// Whether --json is asked for, as far as that can be said of a command line that may be wrong.
bool asks_for_json(const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (word == "--") break;
    if (word == "--json") return true;
  }
  const char* value = std::getenv("VHDX_MIGRATE_JSON");
  return value != nullptr && *value != '\0' && std::strcmp(value, "0") != 0 &&
         std::strcmp(value, "false") != 0;
}

void report(Console& console, const CommandFailure& failure) {
  if (console.json()) {
    boost::json::object fields;
    fields["exit"] = static_cast<int>(failure.exit);
    fields["message"] = json_text(failure.message);
    fields["advice"] = json_text(failure.advice);
    if (!failure.ownership.empty()) fields["ownership"] = json_text(failure.ownership);
    console.object("error", fields);
    return;
  }
  const char* mark = console.color() ? "\x1b[1;31merror:\x1b[0m " : "error: ";
  // Who pressed Ctrl-C got what was asked for.
  if (failure.exit == ExitCode::kInterrupted) mark = "";
  console.talk(fmt::format("vhdx-migrate: {}{}", mark, printable(failure.message)));
  if (!failure.ownership.empty()) console.talk(printable(failure.ownership));
  if (!failure.advice.empty()) console.talk(printable(failure.advice));
}

/// The command line, or else the environment, said what `error` complains about; the latter is
/// named, because a person may have forgotten it.
std::string with_source(const std::string& message, const CLI::App& app,
                        const std::vector<std::string>& arguments) {
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = option->get_name();
    if (!message.starts_with(name + ":") || option->get_envname().empty()) continue;
    const bool on_line = std::any_of(arguments.begin(), arguments.end(), [&](const auto& word) {
      return word == name || word.starts_with(name + "=");
    });
    const char* value = std::getenv(option->get_envname().c_str());
    if (!on_line && value != nullptr) {
      return option->get_envname() + message.substr(name.size());
    }
  }
  return message;
}

/// Parses into `command` and `common`. A result means that there is nothing left to do.
std::optional<CommandResult> parse(Command& command, CommonOptions& common,
                                   const std::vector<std::string>& arguments, Console& console) {
  const CommandText text = command.text();
  CLI::App app(text.summary, text.name);
  app.set_help_flag("-h,--help", "print this text");
  OptionSet options(app);
  command.add_options(options);
  options.flag("--json", common.json, "one JSON object a line on stdout, errors included");
  options.choice("--progress", common.progress, {"auto", "bar", "plain", "none"},
                 "how to show progress on stderr; auto is a bar on a terminal, else lines");
  app.set_version_flag("--version", kVersion, "print the version");
  try {
    // CLI11 takes the words from the back.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    console.print(command_help(text, app));
    return ExitCode::kDone;
  } catch (const CLI::CallForVersion&) {
    console.print(fmt::format("vhdx-migrate {}\n", kVersion));
    return ExitCode::kDone;
  } catch (const CLI::ParseError& error) {
    return usage_failure(
        fmt::format("{}: {}", text.name, with_source(error.what(), app, arguments)),
        fmt::format("Run `vhdx-migrate {} --help` for examples and all options.", text.name));
  }
  return std::nullopt;
}

CommandResult run_command(Command& command, const std::vector<std::string>& arguments,
                          Console& console, Interrupt& interrupt,
                          const Surroundings& surroundings) {
  CommonOptions common;
  if (auto ended = parse(command, common, arguments, console)) return std::move(*ended);
  const ProgressMode progress =
      progress_mode(common.progress, common.json, surroundings.stderr_can_redraw);
  console.configure({.json = common.json,
                     .color = surroundings.stderr_color,
                     .redraw = progress.human == ProgressMode::Human::kBar});
  CommandContext context{.console = console, .interrupt = interrupt, .progress = progress};
  return command.run(context);
}

CommandResult dispatch(const std::vector<std::string>& words, Console& console,
                       Interrupt& interrupt, const Surroundings& surroundings) {
  const auto commands = all_commands();
  Parts parts = split(words);
  if (parts.command == "help") {
    parts.command = parts.arguments.empty() ? "" : parts.arguments.front();
    parts.arguments.clear();
    parts.help = true;
  }
  if (parts.version) {
    console.print(fmt::format("vhdx-migrate {}\n", kVersion));
    return ExitCode::kDone;
  }
  if (parts.command.empty() && parts.help) {
    console.print(general_help(commands));
    return ExitCode::kDone;
  }
  const std::string advice = "Run `vhdx-migrate --help` for the commands that there are.";
  if (!parts.unknown.empty()) {
    return usage_failure(fmt::format("the option {} stands in front of the command", parts.unknown),
                         "Write the command first: vhdx-migrate COMMAND [ARGUMENTS] [OPTIONS].");
  }
  if (parts.command.empty()) return usage_failure("no command was given", advice);
  const auto found = std::find_if(commands.begin(), commands.end(), [&](const auto& command) {
    return command->text().name == parts.command;
  });
  if (found == commands.end()) {
    return usage_failure(fmt::format("there is no command '{}'", parts.command), advice);
  }
  if (parts.help) parts.arguments = {"--help"};
  return run_command(**found, parts.arguments, console, interrupt, surroundings);
}

/// Writes out what is left. A result that could not be written is no result.
ExitCode finish_output(Console& console, ExitCode exit) {
  console.flush();
  const int failed = console.output_errno();
  if (failed == 0 || exit != ExitCode::kDone) return exit;
  // Whoever closed a pipe early, like head(1), knows why.
  if (failed != EPIPE) {
    console.talk(fmt::format("vhdx-migrate: error: standard output could not be written: {}",
                             std::strerror(failed)));
  }
  return ExitCode::kFailed;
}

}  // namespace

int run_command_line(const std::vector<std::string>& arguments, Console& console,
                     Interrupt& interrupt, const Surroundings& surroundings) {
  console.configure({.json = asks_for_json(arguments), .color = surroundings.stderr_color});
  ExitCode exit = ExitCode::kFailed;
  try {
    const CommandResult result = dispatch(arguments, console, interrupt, surroundings);
    if (result.has_error()) {
      report(console, result.error());
      exit = result.error().exit;
    } else {
      exit = *result;
    }
  } catch (const std::exception& error) {
    // Nothing should come here but a lack of memory.
    report(console, {.message = fmt::format("unexpected failure: {}", error.what()),
                     .advice = "This is a defect; please report it with the command line.",
                     .exit = ExitCode::kFailed,
                     .ownership = {}});
  }
  return static_cast<int>(finish_output(console, exit));
}

}  // namespace vhdxm::tools
