// What can be known of the terminal that a stream leads to.
#pragma once

namespace vhdxm::tools {

bool is_terminal(int fd);

/// Units: characters in a line; 80 where the terminal does not say.
unsigned terminal_columns(int fd);

/// Whether a line can be drawn over: a terminal that is not TERM=dumb.
bool can_redraw(int fd);

/// Whether colour is wanted: can_redraw() and NO_COLOR is unset or empty (no-color.org).
bool wants_color(int fd);

}  // namespace vhdxm::tools
