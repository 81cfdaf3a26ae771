// Threads that leave signals to others.
#pragma once

#include <functional>
#include <thread>

namespace vhdxm {

/// A thread that runs `body` and is never interrupted by a signal: those are for the threads of
/// whoever embeds this code. Throws what std::thread throws. Thread safety: from any thread, whose
/// own signals wait meanwhile.
std::thread signal_free_thread(std::function<void()> body);

}  // namespace vhdxm
