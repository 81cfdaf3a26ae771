// What a receiver tells of its jobs while it serves them.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "tools/progress_display.h"
#include "transfer/receiver.h"

namespace vhdxm::tools {

/// Turns events into talk, JSON and a bar. Has no clock and no thread of its own.
class ReceiveReporter {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  ReceiveReporter(Console& console, ProgressMode mode, std::function<unsigned()> columns);

  void handle(const transfer::ReceiverEvent& event, TimePoint now);

 private:
  struct Job {
    ProgressReporter reporter;
    ProgressSample sample;
  };

  void show_progress(const transfer::ReceiverEvent& event, TimePoint now);
  void show_bar(TimePoint now);
  void show_object(const transfer::ReceiverEvent& event);

  Console& console_;
  const ProgressMode mode_;
  const std::function<unsigned()> columns_;
  ProgressReporter bar_;  ///< One line for all jobs.
  std::map<std::uint64_t, Job> jobs_;
};

/// A reporter behind a thread: post() never waits.
class ReceiveDisplay {
 public:
  ReceiveDisplay(Console& console, ProgressMode mode);
  /// Thread safety: from any thread.
  void post(const transfer::ReceiverEvent& event);

 private:
  ReceiveReporter reporter_;
  TalkQueue queue_;  // Last: it is joined before the reporter goes.
};

}  // namespace vhdxm::tools
