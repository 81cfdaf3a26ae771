// Jobs that are blocked: their destinations are asked again and again, until somebody has resolved
// them.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "tools/retry_schedule.h"
#include "tools/service_log.h"

namespace vhdxm::tools {

/// Thread safety: all members may be called from any thread.
class BlockedJobs {
 public:
  /// Asks the destination of a job. Why the job is blocked as before; nothing: it is so no more, by
  /// this or by somebody else. May block. Called from this object's thread, one at a time.
  using Ask = std::function<std::optional<std::string>(const std::string& id)>;

  /// Lifetime: `log` outlives this.
  BlockedJobs(const RetrySchedule::Limits& limits, Ask ask, ServiceLog& log);
  ~BlockedJobs() { stop(); }
  BlockedJobs(const BlockedJobs&) = delete;
  BlockedJobs& operator=(const BlockedJobs&) = delete;

  /// A job that is blocked since now: its destination is asked after the first wait.
  void add(const std::string& id);
  /// A job that was blocked before the service was started: its destination is asked at once.
  void add_at_once(const std::string& id);
  /// The network seems to be there again: all destinations are asked at once.
  void hurry();
  /// Asks no more, and waits for an Ask that is under way.
  void stop();

 private:
  void add_at(const std::string& id, RetrySchedule::TimePoint due);
  void run();
  void note(const std::string& id, const std::optional<std::string>& blocked);

  const RetrySchedule::Duration first_;
  const Ask ask_;
  ServiceLog& log_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Protected by mutex_:
  RetrySchedule schedule_;
  bool stopping_ = false;

  std::thread thread_;  // Last: it uses the others.
};

}  // namespace vhdxm::tools
