// Runs other people's programs, to ask them what they think of our files.
#pragma once

#include <string>
#include <vector>

namespace vhdxm::test {

struct ProgramResult {
  int status = -1;     ///< Exit status; -1 if it did not exit by itself.
  std::string output;  ///< Standard output and standard error.
};

/// Runs `words[0]`, found in PATH, and waits for its end. No shell is involved.
ProgramResult run_program(const std::vector<std::string>& words);

/// Whether PATH has it.
bool has_program(const std::string& name);

}  // namespace vhdxm::test
