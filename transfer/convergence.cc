#include "transfer/convergence.h"

#include <algorithm>
#include <cmath>

#include "transfer/wait_clock.h"

namespace vhdxm::transfer {
namespace {

using Seconds = std::chrono::duration<double>;

// Less than this says more of latency than of a rate. Bytes.
constexpr std::uint64_t kRateBytesMin = 256 * 1024;
// Of the newest value in a moving average.
constexpr double kNewest = 0.5;
// Guests are never slowed down below this. Bytes a second.
constexpr double kThrottleFloor = 256 * 1024;
// What a failed hold took too long is reckoned with less and less: after so much of the stall time,
// with half of it. Else one bad moment would be the end of a move that fits.
constexpr double kBeyondHalfLife = 0.25;
// Mirrored passes before it can be said that they do not help.
constexpr unsigned kMirroredPassesMin = 4;

Convergence::Duration duration_of(double time_s) {
  // A year is never; more would not fit.
  constexpr double kNever = 365.0 * 24 * 3600;
  return std::chrono::duration_cast<Convergence::Duration>(Seconds(std::min(time_s, kNever)));
}

void average_in(double& average, double value) {
  average = average == 0 ? value : average * (1 - kNewest) + value * kNewest;
}

}  // namespace

Convergence::Convergence(const Limits& limits, TimePoint begun)
    : limits_(limits), ended_(begun), best_at_(begun), hopeless_from_(begun) {
  if (limits.mirror != Mirror::kAlways) return;
  mirrors_ = true;
  mirror_starts_ = 1;
}

Convergence::Step Convergence::on_pass(const Pass& pass) {
  const double copying = seconds(pass.copying);
  if (pass.sent_bytes >= kRateBytesMin && copying > 0) {
    average_in(copy_rate_, static_cast<double>(pass.sent_bytes) / copying);
  } else {
    average_in(latency_s_, copying);
  }
  const double since = seconds(pass.ended - ended_);
  if (since > 0) {
    pass_dirty_rate_ = static_cast<double>(pass.marked_bytes) / since;
    average_in(dirty_rate_, pass_dirty_rate_);
  }
  pass_sent_bytes_ = pass.sent_bytes;
  pass_overhead_s_ = std::max(since - copying, 0.0);
  handover_s_ *= std::exp2(-std::max(since, 0.0) / (seconds(limits_.stall) * kBeyondHalfLife));
  if (hopeless_passes_ == 0) hopeless_from_ = ended_;
  ended_ = pass.ended;
  ++passes_since_;
  average_in(agreeing_s_, seconds(pass.agreeing));
  average_in(round_trip_s_, seconds(std::max(pass.agreeing - pass.sync, Duration::zero())));
  dirty_bytes_ = pass.dirty_bytes;
  return judge(pass.ended);
}

// The last pass is copied and made durable; then the other side writes down that it is ready, which
// costs a round trip and about what a sync does.
Convergence::Duration Convergence::predict(std::uint64_t dirty_bytes) const {
  double copying = std::max(latency_s_, round_trip_s_);
  if (copy_rate_ > 0) copying += static_cast<double>(dirty_bytes) / copy_rate_;
  return duration_of(copying + 2 * agreeing_s_ + handover_s_);
}

Convergence::Step Convergence::judge(TimePoint now) {
  predicted_ = predict(dirty_bytes_);
  if (*predicted_ <= limits_.max_pause) {
    best_at_ = now;
    best_ = predicted_;
    return limits_.hold_when_ready ? Step::kHold : Step::kRest;
  }
  const bool better = !best_ || seconds(*predicted_) <= seconds(*best_) * (1 - limits_.improvement);
  if (better) {
    best_ = predicted_;
    best_at_ = now;
    hopeless_passes_ = 0;
    return Step::kPass;
  }
  hopeless_passes_ = passes_will_not_do() ? hopeless_passes_ + 1 : 0;
  const bool hopeless = hopeless_passes_ >= 2 && now - hopeless_from_ >= limits_.hopeless;
  // The first mirrored pass may take any time, and the ones after it show what it was for.
  const bool shown = !mirrors_ || passes_since_ > kMirroredPassesMin;
  const bool stalled = now - best_at_ >= limits_.stall && shown;
  return hopeless || stalled ? climb(now) : Step::kPass;
}

// Passes like the last one come to a balance: as much is dirtied in a pass as it copies. If they
// are there, or there is none, or what is dirty then does not fit the pause, more of them are of no
// use, and slower writes may be.
bool Convergence::passes_will_not_do() const {
  if (mirrors_ || copy_rate_ <= 0 || predict(0) > limits_.max_pause) return false;
  if (pass_dirty_rate_ >= copy_rate_) return true;
  const double shrunk = static_cast<double>(pass_sent_bytes_) * (1 - limits_.improvement);
  if (static_cast<double>(dirty_bytes_) >= shrunk) return true;
  const double balance_bytes =
      pass_dirty_rate_ * pass_overhead_s_ / (1 - pass_dirty_rate_ / copy_rate_);
  return predict(static_cast<std::uint64_t>(balance_bytes)) > limits_.max_pause;
}

// Each means has its time to show what it does.
Convergence::Step Convergence::climb(TimePoint now) {
  best_at_ = now;
  best_ = predicted_;
  passes_since_ = 0;
  hopeless_passes_ = 0;
  if (mirrors_) return Step::kGiveUp;
  if (throttle_steps_ < limits_.throttle_steps_max && copy_rate_ > 0) {
    ++throttle_steps_;
    // Above what is dirtied now it would do nothing.
    const double from = std::min(copy_rate_, dirty_rate_ > 0 ? dirty_rate_ : copy_rate_);
    const double half = throttle_ == 0 ? from / 2 : static_cast<double>(throttle_) / 2;
    throttle_ = slowest_ = static_cast<std::uint64_t>(std::max(half, kThrottleFloor));
    return Step::kThrottle;
  }
  if (limits_.mirror == Mirror::kNever || mirror_starts_ >= limits_.mirror_starts_max) {
    return Step::kGiveUp;
  }
  ++mirror_starts_;
  mirrors_ = true;
  throttle_ = 0;
  return Step::kMirror;
}

void Convergence::on_mirror_stopped() {
  mirrors_ = false;
  throttle_ = slowest_;
  best_.reset();
  passes_since_ = 0;
}

Convergence::Step Convergence::on_hold_failed(Duration held, TimePoint now) {
  ++holds_failed_;
  if (holds_failed_ >= limits_.holds_max) return Step::kGiveUp;
  // It was taken to fit, and did not.
  const double beyond = seconds(held) - (predicted_ ? seconds(*predicted_) : 0);
  handover_s_ = std::max(handover_s_ / 2, std::max(beyond, 0.0));
  // A promise that one bad moment broke is not given up for good.
  handover_s_ = std::min(handover_s_, seconds(limits_.max_pause) / 2);
  best_at_ = now;
  best_.reset();
  return Step::kPass;
}

}  // namespace vhdxm::transfer
