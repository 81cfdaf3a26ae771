// --folder NAME=DIR, once for each further folder that disks may arrive in.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tools/command_failure.h"

namespace vhdxm::tools {

/// Puts what `words` say over `folders`, with absolute paths. Failures: of usage, for what is not
/// NAME=DIR, or names a folder twice.
std::optional<CommandFailure> take_folders(const std::vector<std::string>& words,
                                           std::map<std::string, std::string>& folders);

}  // namespace vhdxm::tools
