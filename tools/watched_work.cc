#include "tools/watched_work.h"

#include <utility>

namespace vhdxm::tools {

WatchedWork::WatchedWork(CommandContext& context, std::string phase, std::string disk)
    : context_(context),
      phase_(std::move(phase)),
      disk_(std::move(disk)),
      display_(context.console, context.progress, /*quiet_start=*/true) {}

vhdx::WorkWatch WatchedWork::watch() {
  return {.progress =
              [this](std::uint64_t done_bytes, std::uint64_t total_bytes) {
                display_.post(
                    {.phase = phase_, .disk = disk_, .done = done_bytes, .total = total_bytes});
              },
          .cancel = &context_.interrupt.flag()};
}

std::chrono::milliseconds WatchedWork::elapsed() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               begin_);
}

CommandFailure work_failure(const Error& error, std::string when_cancelled) {
  if (error.code == BaseErrc::kCancelled) return interrupted(std::move(when_cancelled));
  return failure_of(error);
}

}  // namespace vhdxm::tools
