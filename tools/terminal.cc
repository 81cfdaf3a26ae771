#include "tools/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace vhdxm::tools {
namespace {

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

}  // namespace

bool is_terminal(int fd) {
  return ::isatty(fd) == 1;
}

unsigned terminal_columns(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool can_redraw(int fd) {
  return is_terminal(fd) && environment("TERM") != "dumb";
}

bool wants_color(int fd) {
  return can_redraw(fd) && environment("NO_COLOR").empty();
}

}  // namespace vhdxm::tools
