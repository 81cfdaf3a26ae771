// How long somebody waits: time that was spent so far, what goes on now included.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace vhdxm::transfer {

/// Thread safety: begin() and end() from one thread, total() from any.
class WaitClock {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  /// Waits from `now` on; nothing if it waits already.
  void begin(TimePoint now);
  /// Goes on with its work; nothing if it does not wait.
  void end(TimePoint now);
  /// All that was waited until `now`, a wait under way included.
  Duration total(TimePoint now) const;

 private:
  // A pair of counts and no lock: a reader that comes between the two sees a wait a moment short.
  std::atomic<Duration::rep> waited_{0};
  std::atomic<Duration::rep> since_{0};  ///< Of the wait under way; 0: none.
};

inline double seconds(WaitClock::Duration time) {
  return std::chrono::duration<double>(time).count();
}

/// Waits as long as it lives.
class Waiting {
 public:
  /// `clock`: null means that nobody wants to know.
  explicit Waiting(WaitClock* clock) : clock_(clock) {
    if (clock_ != nullptr) clock_->begin(std::chrono::steady_clock::now());
  }
  ~Waiting() {
    if (clock_ != nullptr) clock_->end(std::chrono::steady_clock::now());
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  WaitClock* clock_;
};

}  // namespace vhdxm::transfer
