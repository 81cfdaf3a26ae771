// What a command of the tool is: its words, its options, and what it does.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tools/command_failure.h"
#include "tools/console.h"
#include "tools/interrupt.h"
#include "tools/options.h"
#include "tools/progress_display.h"

namespace vhdxm::tools {

struct CommandText {
  std::string name;
  std::string summary;      ///< One line, for the list of commands.
  std::string description;  ///< Paragraphs, for its own --help.
  struct Example {
    std::string line;
    std::string meaning;
  };
  std::vector<Example> examples;
};

struct CommandContext {
  Console& console;
  Interrupt& interrupt;
  ProgressMode progress = {};  ///< What --progress comes to on this terminal.
};

class Command {
 public:
  virtual ~Command() = default;
  virtual CommandText text() const = 0;
  virtual void add_options(OptionSet& options) = 0;
  /// After the options were parsed.
  virtual CommandResult run(CommandContext& context) = 0;
};

}  // namespace vhdxm::tools
