#include "tools/blocked_jobs.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/random.h"
#include "tools/progress_sample.h"

namespace vhdxm::tools {
namespace {

using RetryClock = std::chrono::steady_clock;

/// "in 5 s"; short waits are told in ms.
std::string in_words(RetrySchedule::Duration delay) {
  const auto seconds = std::chrono::round<std::chrono::seconds>(delay);
  if (seconds.count() > 0) return format_duration(seconds);
  return fmt::format("{} ms", std::chrono::ceil<std::chrono::milliseconds>(delay).count());
}

}  // namespace

BlockedJobs::BlockedJobs(const RetrySchedule::Limits& limits, Ask ask, ServiceLog& log)
    : first_(limits.first),
      ask_(std::move(ask)),
      log_(log),
      schedule_(limits, random_u64()),
      thread_([this] { run(); }) {}

void BlockedJobs::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void BlockedJobs::add(const std::string& id) {
  add_at(id, RetryClock::now() + first_);
}

void BlockedJobs::add_at_once(const std::string& id) {
  add_at(id, RetryClock::now());
}

void BlockedJobs::add_at(const std::string& id, RetrySchedule::TimePoint due) {
  {
    const std::lock_guard lock(mutex_);
    schedule_.add(id, due);
  }
  changed_.notify_all();
}

void BlockedJobs::hurry() {
  {
    const std::lock_guard lock(mutex_);
    schedule_.hurry(RetryClock::now());
  }
  changed_.notify_all();
}

void BlockedJobs::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (const auto id = schedule_.due(RetryClock::now())) {
      lock.unlock();
      const auto blocked = ask_(*id);
      lock.lock();
      note(*id, blocked);
    } else if (const auto next = schedule_.next()) {
      changed_.wait_until(lock, *next);
    } else {
      changed_.wait(lock);
    }
  }
}

void BlockedJobs::note(const std::string& id, const std::optional<std::string>& blocked) {
  if (!blocked) return schedule_.remove(id);
  const auto delay = schedule_.failed(id, RetryClock::now());
  log_.warning(fmt::format("job {}: still blocked: {}; its destination is asked again in {}", id,
                           *blocked, in_words(delay)));
}

}  // namespace vhdxm::tools
