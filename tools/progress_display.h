// Shows progress as it was asked for: a bar, lines, JSON objects, or not at all.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "tools/console.h"
#include "tools/progress_sample.h"
#include "tools/talk_queue.h"

namespace vhdxm::tools {

struct ProgressMode {
  enum class Human { kNone, kBar, kPlain };
  Human human = Human::kNone;
  bool json = false;  ///< {"type":"progress"} among the results.

  friend bool operator==(const ProgressMode&, const ProgressMode&) = default;
};

/// What --progress auto|bar|plain|none comes to.
ProgressMode progress_mode(const std::string& choice, bool json, bool stderr_can_redraw);

/// Decides when and how a sample is shown. Has no clock and no thread of its own.
class ProgressReporter {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kBarInterval{100};
  static constexpr std::chrono::seconds kPlainInterval{5};
  static constexpr std::chrono::seconds kJsonInterval{1};

  struct Options {
    std::string prefix = {};               ///< First in every line of talk.
    boost::json::object json_prefix = {};  ///< First in every object.
    /// Work that ends before its first line or object would be due for the second time says
    /// nothing.
    bool quiet_start = false;
  };

  /// `columns` tells the width of the terminal.
  ProgressReporter(Console& console, ProgressMode mode, std::function<unsigned()> columns,
                   Options options);

  void update(const ProgressSample& sample, TimePoint now);
  /// Shows the last sample if it was not shown, and takes the bar away.
  void finish();

 private:
  void show_line();
  void show_object();

  Console& console_;
  const ProgressMode mode_;
  const std::function<unsigned()> columns_;
  const Options options_;
  Pace pace_;
  std::optional<ProgressSample> last_;
  bool said_ = false;            ///< Anything at all, in lines or objects.
  bool line_pending_ = false;    ///< The last sample is owed as a line.
  bool object_pending_ = false;  ///< And as an object.
  std::optional<TimePoint> bar_shown_;
  std::optional<TimePoint> line_shown_;
  std::optional<TimePoint> object_shown_;
};

/// A reporter behind a thread: post() never waits.
class ProgressDisplay {
 public:
  ProgressDisplay(Console& console, ProgressMode mode, bool quiet_start);
  /// Shows the end, and takes the bar away.
  ~ProgressDisplay();

  /// Thread safety: from any thread.
  void post(ProgressSample sample);

 private:
  ProgressReporter reporter_;
  TalkQueue queue_;  // Last: it is joined before the reporter goes.
};

}  // namespace vhdxm::tools
