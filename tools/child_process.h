// How this program starts another.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"

namespace vhdxm::tools {

/// The number of the first descriptor in a child that it was given.
inline constexpr int kFirstKeptFd = 3;

/// What is sent to this process and does not reach the child.
enum class Apart {
  kGroup,   ///< Ctrl-C: it is for this process, which then stops the child.
  kSession  ///< Nothing that ends this process ends the child.
};

/// Starts a program, `words[0]` by its path. Signals are as a new program expects them; it has no
/// input; its stdout is our stderr, since results stay ours; the descriptors of `kept` are
/// kFirstKeptFd and so on there, and it has no others.
Result<pid_t> start_child(const std::vector<std::string>& words, const std::vector<int>& kept,
                          Apart apart);

}  // namespace vhdxm::tools
