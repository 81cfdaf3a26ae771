// From the words of a command line to an exit code.
#pragma once

#include <string>
#include <vector>

#include "tools/console.h"
#include "tools/interrupt.h"

namespace vhdxm::tools {

/// What a test wants to be otherwise than the process has it.
struct Surroundings {
  bool stderr_can_redraw = false;
  bool stderr_color = false;
};

/// Parses `arguments` (without the program's name), runs the command, and says how it ended.
int run_command_line(const std::vector<std::string>& arguments, Console& console,
                     Interrupt& interrupt, const Surroundings& surroundings);

}  // namespace vhdxm::tools
