// Whether passes over a disk in use come to an end: what to do when one is done.
//
// Sans I/O, and without a clock: it is told what each pass did, and decides. Rates are moving
// averages, judged at the ends of passes only. From them follows how long guests would wait if they
// were held now; that is a promise (max_pause), so it is only done when it fits. When passes stop
// to get any better, a ladder of means is climbed, and at its end the job says that it cannot.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace vhdxm::transfer {

/// Thread safety: none.
class Convergence {
 public:
  using Duration = std::chrono::steady_clock::duration;
  using TimePoint = std::chrono::steady_clock::time_point;

  struct Limits {
    /// How long writes may wait, until the disks are released.
    Duration max_pause = std::chrono::milliseconds(300);
    /// A pass must be better than the best one by `improvement` within so long.
    Duration stall = std::chrono::seconds(10);
    double improvement = 0.04;  ///< Of the predicted pause.
    /// How often the writes of guests may be slowed down further: each time to a half.
    unsigned throttle_steps_max = 5;
    /// Holds that came to nothing before the job gives up.
    unsigned holds_max = 8;
    bool hold_when_ready = true;  ///< False: only after allow_hold().
  };
  enum class Step : std::uint8_t {
    kPass,      ///< Another pass, now.
    kRest,      ///< It is good enough, but nobody asked for the hand-over yet: wait, then a pass.
    kHold,      ///< Hold the writes, and send the last pass.
    kThrottle,  ///< Slow writes down to throttle_bytes_per_second(), then another pass.
    kGiveUp,    ///< It will not fit: say so.
  };
  struct Pass {
    std::uint64_t sent_bytes = 0;    ///< Of the disks, that it spoke of.
    Duration copying{};              ///< From its beginning until all was written.
    Duration agreeing{};             ///< From then until the destination said that it is durable.
    Duration sync{};                 ///< Of that: making it durable.
    std::uint64_t dirty_bytes = 0;   ///< Dirty when it ended.
    std::uint64_t marked_bytes = 0;  ///< That became dirty since the pass before it ended.
    TimePoint ended{};
  };

  Convergence(const Limits& limits, TimePoint begun);

  Step on_pass(const Pass& pass);
  /// Writes were held and had to be let go; `held`: for how long.
  Step on_hold_failed(Duration held, TimePoint now);

  void set_max_pause(Duration max_pause) { limits_.max_pause = max_pause; }
  void allow_hold() { limits_.hold_when_ready = true; }
  Duration max_pause() const { return limits_.max_pause; }

  // What it thinks. Rates: bytes a second; 0: not known yet.
  double copy_rate() const { return copy_rate_; }
  double dirty_rate() const { return dirty_rate_; }
  /// How long writes would have waited, had they been held when the last pass ended.
  std::optional<Duration> predicted_pause() const { return predicted_; }
  /// 0: writes are not slowed down.
  std::uint64_t throttle_bytes_per_second() const { return throttle_; }

 private:
  Step judge(TimePoint now);
  Step climb(TimePoint now);
  Duration predict(std::uint64_t dirty_bytes) const;

  Limits limits_;
  TimePoint ended_;  ///< The last pass.
  double copy_rate_ = 0;
  double dirty_rate_ = 0;
  double latency_s_ = 0;  ///< Of copying next to nothing. Seconds.
  double agreeing_s_ = 0;
  double round_trip_s_ = 0;
  double handover_s_ = 0;  ///< What a hold took beyond its prediction, when one failed.
  std::uint64_t dirty_bytes_ = 0;
  std::optional<Duration> predicted_;
  std::optional<Duration> best_;
  TimePoint best_at_;
  unsigned throttle_steps_ = 0;
  unsigned holds_failed_ = 0;
  std::uint64_t throttle_ = 0;
};

}  // namespace vhdxm::transfer
