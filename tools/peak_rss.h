// The most memory that this process ever had, for --json.
#pragma once

#include <cstdint>

namespace vhdxm::tools {

/// Units: bytes. VmHWM of /proc/self/status; where that cannot be read, ru_maxrss, which on Linux
/// also counts what the process was before exec().
std::uint64_t peak_rss_bytes();

}  // namespace vhdxm::tools
