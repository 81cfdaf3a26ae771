// When to try again what has failed: after longer and longer times.
//
// Sans I/O, and without a clock: it is told what time it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>

namespace vhdxm::tools {

/// Thread safety: none.
class RetrySchedule {
 public:
  using Duration = std::chrono::steady_clock::duration;
  using TimePoint = std::chrono::steady_clock::time_point;
  struct Limits {
    Duration first = std::chrono::seconds(5);  ///< After the first failure; then twice as long.
    Duration most = std::chrono::minutes(5);
  };

  /// `seed`: of the jitter. Each wait is up to a quarter shorter than said, so that those who
  /// failed together do not all try again together.
  RetrySchedule(const Limits& limits, std::uint64_t seed) : limits_(limits), random_(seed) {}

  /// Something that is to be tried at `due`. Nothing changes if it is there already.
  void add(const std::string& id, TimePoint due);
  void remove(const std::string& id) { waiting_.erase(id); }
  /// Tried at `now`, in vain. Returns how long it waits. Requires: it is there.
  Duration failed(const std::string& id, TimePoint now);
  /// There is reason to believe that trying would do now; the waits go on from where they were.
  void hurry(TimePoint now);

  /// One that is due at `now`, the one that waits longest.
  std::optional<std::string> due(TimePoint now) const;
  /// When something is due; nothing if nothing waits.
  std::optional<TimePoint> next() const;

 private:
  struct Wait {
    TimePoint due{};
    Duration delay{};  ///< After the next failure.
  };
  std::map<std::string, Wait>::const_iterator earliest() const;

  const Limits limits_;
  std::mt19937_64 random_;
  std::map<std::string, Wait> waiting_;
};

}  // namespace vhdxm::tools
