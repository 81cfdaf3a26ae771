// The process of one job: sends the disk, tells the service how far it is, and writes down the end.
//
// It goes on when its service ends, and is found by the next one through its lock and its socket.
#pragma once

#include <string>
#include <vector>

#include "migration/host_settings.h"

namespace vhdxm::tools {

/// How the service starts one: the first word of the command line after the program's name, then
/// state folder, run folder and id. The lock is descriptor 3, and 4 the end of a ReadyPipe.
inline constexpr const char* kRunJobWord = "run-job";
/// main() of such a process. `words`: after kRunJobWord.
int run_job(const std::vector<std::string>& words);

}  // namespace vhdxm::tools
