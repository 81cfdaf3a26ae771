// vhdx-migrate: the command-line tool.
#include <malloc.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "tools/command_line.h"
#include "tools/terminal.h"

// glibc would give every thread a heap of its own, and keep blocks of up to 32 MiB that were freed:
// with a thread a stream that is memory which no budget knows of. The streams' own buffers are
// allocated once, so a heap for two threads each costs no time.
static void keep_memory_small() {
  constexpr int kHeaps = 2;
  constexpr int kReturnedWhenFreedBytes = 128 * 1024;
  ::mallopt(M_ARENA_MAX, kHeaps);
  ::mallopt(M_MMAP_THRESHOLD, kReturnedWhenFreedBytes);
  ::mallopt(M_TRIM_THRESHOLD, kReturnedWhenFreedBytes);
}

int main(int argc, char** argv) {
  using namespace vhdxm::tools;
  keep_memory_small();
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
