// Work over a whole disk on this host: shown as it goes, and ended by Ctrl-C.
#pragma once

#include <chrono>
#include <string>

#include "tools/command.h"
#include "vhdx/work_watch.h"

namespace vhdxm::tools {

/// For as long as one piece of such work runs. Lifetime: `context` outlives this.
class WatchedWork {
 public:
  /// "exporting", "web01.vhdx".
  WatchedWork(CommandContext& context, std::string phase, std::string disk);

  /// Lifetime: of this object.
  vhdx::WorkWatch watch();
  std::chrono::milliseconds elapsed() const;

 private:
  CommandContext& context_;
  const std::string phase_;
  const std::string disk_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  ProgressDisplay display_;
};

/// Of an error of such work: `when_cancelled` says what is left behind after Ctrl-C.
CommandFailure work_failure(const Error& error, std::string when_cancelled);

}  // namespace vhdxm::tools
