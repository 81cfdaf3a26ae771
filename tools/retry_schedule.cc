#include "tools/retry_schedule.h"

#include <algorithm>

namespace vhdxm::tools {

void RetrySchedule::add(const std::string& id, TimePoint due) {
  waiting_.try_emplace(id, Wait{.due = due, .delay = limits_.first});
}

RetrySchedule::Duration RetrySchedule::failed(const std::string& id, TimePoint now) {
  Wait& wait = waiting_.at(id);
  const Duration longest = std::min(wait.delay, limits_.most);
  std::uniform_int_distribution<Duration::rep> jitter(0, longest.count() / 4);
  const Duration delay = longest - Duration(jitter(random_));
  wait.due = now + delay;
  wait.delay = std::min(2 * longest, limits_.most);  // cannot wrap: `most` is minutes, or a day
  return delay;
}

void RetrySchedule::hurry(TimePoint now) {
  for (auto& [id, wait] : waiting_) wait.due = std::min(wait.due, now);
}

std::map<std::string, RetrySchedule::Wait>::const_iterator RetrySchedule::earliest() const {
  return std::min_element(waiting_.begin(), waiting_.end(),
                          [](const auto& a, const auto& b) { return a.second.due < b.second.due; });
}

std::optional<std::string> RetrySchedule::due(TimePoint now) const {
  const auto first = earliest();
  if (first == waiting_.end() || first->second.due > now) return std::nullopt;
  return first->first;
}

std::optional<RetrySchedule::TimePoint> RetrySchedule::next() const {
  const auto first = earliest();
  if (first == waiting_.end()) return std::nullopt;
  return first->second.due;
}

}  // namespace vhdxm::tools
