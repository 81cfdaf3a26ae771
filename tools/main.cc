// vhdx-migrate: the command-line tool.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "tools/command_line.h"
#include "tools/terminal.h"

int main(int argc, char** argv) {
  using namespace vhdxm::tools;
  // A reader of stdout that goes away shows as an error of a write, not as the process's end.
  std::signal(SIGPIPE, SIG_IGN);
  Interrupt interrupt;
  Console console(descriptor_sink(STDOUT_FILENO), descriptor_sink(STDERR_FILENO),
                  [] { return std::chrono::system_clock::now(); });
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  return run_command_line(
      arguments, console, interrupt,
      {.stderr_can_redraw = can_redraw(STDERR_FILENO), .stderr_color = wants_color(STDERR_FILENO)});
}
