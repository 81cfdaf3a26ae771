// How often this thread asked for memory: for what promises not to.
//
// Counts malloc and its kin, and so operator new, whoever calls them: the program, or a library.
#pragma once

#include <cstdint>

namespace vhdxm::test {

/// Allocations of the calling thread since it began.
std::uint64_t allocation_count();

}  // namespace vhdxm::test
