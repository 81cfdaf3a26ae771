// --help: examples first, then how it is called, what it does, and every option.
#pragma once

#include <CLI/App.hpp>
#include <memory>
#include <string>
#include <vector>

#include "tools/command.h"

namespace vhdxm::tools {

/// Of one command, whose options stand in `app`. `program`: what is typed in front of its name.
std::string command_help(const CommandText& text, const CLI::App& app,
                         const std::string& program = "vhdx-migrate ");

/// Of the whole tool.
std::string general_help(const std::vector<std::unique_ptr<Command>>& commands);

}  // namespace vhdxm::tools
