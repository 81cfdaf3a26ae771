// What a thread has used of a processor.
#pragma once

#include <cstdint>

namespace vhdxm {

/// Processor time of the calling thread since it began, user and system. Units: nanoseconds.
/// Costs a system call, some hundred nanoseconds.
std::uint64_t thread_processor_ns();

/// Processors that this process may run on, by its affinity; at least one.
unsigned usable_processors();

}  // namespace vhdxm
