// vhdx-migrated: the host service.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <poll.h>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tools/control_api.h"
#include "tools/detached_process.h"
#include "tools/host_config.h"
#include "tools/host_service.h"
#include "tools/http_server.h"
#include "tools/interrupt.h"
#include "tools/service_log.h"
#include "tools/service_options.h"

namespace vhdxm::tools {
namespace {

void wait_for(const Interrupt& interrupt) {
  pollfd wait{.fd = interrupt.fd(), .events = POLLIN, .revents = 0};
  while (::poll(&wait, 1, -1) < 0) {
  }
}

int fail(ServiceLog& log, const CommandFailure& failure) {
  log.error(failure.advice.empty() ? failure.message : failure.message + " " + failure.advice);
  return static_cast<int>(failure.exit);
}

int serve(const migration::HostSettings& settings, Interrupt& interrupt, ServiceLog& log) {
  auto service = HostService::start(settings, log);
  if (service.has_error()) return fail(log, service.error());
  const Router router = control_api(**service);
  const auto server =
      HttpServer::start({.socket = settings.control_path()},
                        [&](const HttpRequest& request) { return router.answer(request); });
  if (server.has_error()) return fail(log, failure_of(server.error()));
  log.info(fmt::format("control socket: {}", settings.control_path()));
  notify_systemd("READY=1");
  wait_for(interrupt);
  notify_systemd("STOPPING=1");
  log.info("stopping; disks stay exported");
  return 0;
}

}  // namespace
}  // namespace vhdxm::tools

int main(int argc, char** argv) {
  using namespace vhdxm::tools;
  std::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  ignore_ended_children();
  Interrupt interrupt;
  ServiceLog log(STDERR_FILENO, ServiceLog::stderr_is_journal());
  auto options = parse_service_options(words);
  if (options.has_error()) return fail(log, options.error());
  if (!options->text.empty()) {
    std::fputs(options->text.c_str(), stdout);
    return 0;
  }
  return serve(options->settings, interrupt, log);
}
