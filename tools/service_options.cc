#include "tools/service_options.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <optional>
#include <utility>

#include "tools/endpoint.h"
#include "tools/folder_options.h"
#include "tools/help_text.h"
#include "tools/host_config.h"
#include "tools/options.h"

namespace vhdxm::tools {
namespace {

using migration::HostSettings;

/// What the file says may be said otherwise here; what is not said stays empty.
struct Overrides {
  std::string config;
  std::string incoming;
  std::string outgoing;
  std::string listen;
  std::string into;
  std::vector<std::string> folders;
  std::string key_file;
  std::string state;
  std::string run;
  std::string control;
  std::optional<unsigned> max_migrations;
  std::optional<unsigned> max_arrivals;
  std::optional<std::uint64_t> limit;
};

CommandText service_text() {
  return {.name = "vhdx-migrated",
          .summary = "the host service of VHDX Migrate",
          .description =
              "Exports this host's registered disks to guests, takes the disks that other hosts "
              "send, and runs the jobs that `vhdx-migrate` gives it. It runs in the foreground and "
              "says what it does on stderr.\n"
              "SIGTERM and Ctrl-C end it, and nothing else: disks stay exported, and a service "
              "that is started again finds them.\n"
              "Settings come from the file, the environment and these options, the last one first.",
          .examples = {{"vhdx-migrated", "with /etc/vhdx-migrate/host.toml, as systemd starts it"},
                       {"vhdx-migrated --config host.toml --state /tmp/vm/state --run /tmp/vm/run",
                        "one to try, without root"}}};
}

void add_service_options(OptionSet& options, Overrides& over) {
  options.text("--config", "FILE", over.config,
               fmt::format("the host settings; {} unless told, if it is there", kHostConfigPath));
  options.choice("--incoming", over.incoming, {"on", "off"}, "whether disks may arrive");
  options.choice("--outgoing", over.outgoing, {"on", "off"}, "whether moves may begin here");
  options.text("--listen", "ADDR:PORT", over.listen,
               "where to listen for other hosts; every address and port 6600 unless told");
  options.text("--into", "DIR", over.into, "the folder that disks arrive in");
  options.texts("--folder", "NAME=DIR", over.folders,
                "a further one, which a move may name; once for each");
  options.text("--key-file", "FILE", over.key_file, "the pairing key; made if it is not there");
  options.text("--state", "DIR", over.state, "what has to survive; /var/lib/vhdx-migrate");
  options.text("--run", "DIR", over.run, "sockets; /run/vhdx-migrate");
  options.text("--control", "SOCKET", over.control,
               "the control socket; control.sock in the folder of sockets");
  options.number("--max-migrations", over.max_migrations, 1, 256,
                 "jobs from here at a time; 2 unless told");
  options.number("--max-arrivals", over.max_arrivals, 1, 256,
                 "jobs to here at a time; 8 unless told");
  options.size("--limit", over.limit, "at most so many bytes a second on the wire, for each job");
}

void put(const std::string& from, std::string& to) {
  if (!from.empty()) to = std::filesystem::absolute(from).lexically_normal();
}

std::optional<CommandFailure> apply(const Overrides& over, HostSettings& settings) {
  if (!over.incoming.empty()) settings.incoming = over.incoming == "on";
  if (!over.outgoing.empty()) settings.outgoing = over.outgoing == "on";
  if (!over.listen.empty()) {
    const auto endpoint = parse_listen_endpoint(over.listen);
    if (!endpoint) {
      return usage_failure(
          fmt::format("--listen: '{}' is not ADDR, ADDR:PORT or :PORT", over.listen),
          "For example 10.0.0.5:6600, [::1]:6600, :7000 or 127.0.0.1:0.");
    }
    settings.listen_address = endpoint->host;
    if (endpoint->port) settings.port = *endpoint->port;
  }
  put(over.into, settings.folder);
  if (auto failure = take_folders(over.folders, settings.folders)) return failure;
  put(over.key_file, settings.key_file);
  put(over.state, settings.state_folder);
  put(over.run, settings.run_folder);
  put(over.control, settings.control_socket);
  if (over.max_migrations) settings.max_migrations = *over.max_migrations;
  if (over.max_arrivals) settings.max_arrivals = *over.max_arrivals;
  if (over.limit) settings.bandwidth_limit = *over.limit;
  return std::nullopt;
}

}  // namespace

boost::system::result<ServiceOptions, CommandFailure> parse_service_options(
    const std::vector<std::string>& words) {
  const CommandText text = service_text();
  CLI::App app(text.summary, text.name);
  app.set_help_flag("-h,--help", "print this text");
  app.set_version_flag("--version", VHDXM_VERSION, "print the version");
  Overrides over;
  OptionSet options(app);
  add_service_options(options, over);
  ServiceOptions parsed;
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::CallForHelp&) {
    parsed.text = command_help(text, app, "");
    return parsed;
  } catch (const CLI::CallForVersion&) {
    parsed.text = fmt::format("vhdx-migrated {}\n", VHDXM_VERSION);
    return parsed;
  } catch (const CLI::ParseError& error) {
    return usage_failure(error.what(), "Run `vhdx-migrated --help` for all options.");
  }
  std::error_code ignored;
  const bool named = !over.config.empty();
  const std::string file = named ? over.config : kHostConfigPath;
  if (named || std::filesystem::exists(file, ignored)) {
    auto settings = read_host_config(file);
    if (settings.has_error()) return settings.error();
    parsed.settings = std::move(*settings);
  }
  if (auto failure = apply(over, parsed.settings)) return *failure;
  if (const std::string problem = problem_with(parsed.settings); !problem.empty()) {
    return usage_failure(problem, "See docs/operations.md for every setting.");
  }
  return parsed;
}

}  // namespace vhdxm::tools
