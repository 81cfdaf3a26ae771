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

  /// Whether guests' writes are mirrored: acknowledged when both sides have them.
  enum class Mirror : std::uint8_t {
    kAuto,    ///< When nothing else helped.
    kAlways,  ///< From the second pass on.
    kNever,
  };

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
    /// So long, and two passes, it must be foreseen that passes of this kind will not do.
    Duration hopeless = std::chrono::seconds(1);
    Mirror mirror = Mirror::kAuto;
    /// How often writes may be mirrored from anew after the other side did not answer.
    unsigned mirror_starts_max = 8;
  };
  enum class Step : std::uint8_t {
    kPass,      ///< Another pass, now.
    kRest,      ///< It is good enough, but nobody asked for the hand-over yet: wait, then a pass.
    kHold,      ///< Hold the writes, and send the last pass.
    kThrottle,  ///< Slow writes down to throttle_bytes_per_second(), then another pass.
    kMirror,    ///< Mirror writes from now on, and slow them down no more; then another pass.
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

  /// Whether writes are to be mirrored in the passes that come.
  bool mirrors() const { return mirrors_; }
  /// They are not any more: the other side did not answer in time. Before on_pass() of that pass;
  /// writes are slowed down again as they were.
  void on_mirror_stopped();

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
  bool passes_will_not_do() const;
  Step climb(TimePoint now);
  Duration predict(std::uint64_t dirty_bytes) const;

  Limits limits_;
  TimePoint ended_;  ///< The last pass.
  double copy_rate_ = 0;
  double dirty_rate_ = 0;
  double latency_s_ = 0;  ///< Of copying next to nothing. Seconds.
  double agreeing_s_ = 0;
  double round_trip_s_ = 0;
  double handover_s_ = 0;  ///< What a failed hold took beyond its prediction; ever less with time.
  std::uint64_t dirty_bytes_ = 0;
  std::optional<Duration> predicted_;
  std::optional<Duration> best_;
  TimePoint best_at_;
  unsigned throttle_steps_ = 0;
  unsigned holds_failed_ = 0;
  std::uint64_t throttle_ = 0;
  std::uint64_t slowest_ = 0;  ///< The last of throttle_ that was not 0.
  bool mirrors_ = false;
  unsigned mirror_starts_ = 0;
  // Of the last pass alone.
  double pass_dirty_rate_ = 0;  ///< Bytes a second.
  std::uint64_t pass_sent_bytes_ = 0;
  double pass_overhead_s_ = 0;  ///< What did not go with copying.
  // Since the last means was taken.
  unsigned passes_since_ = 0;
  unsigned hopeless_passes_ = 0;  ///< In a row.
  TimePoint hopeless_from_;
};

}  // namespace vhdxm::transfer
