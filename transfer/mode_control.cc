#include "transfer/mode_control.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace vhdxm::transfer {
namespace {

// How far a share of the processors may be overdrawn or saved up: it holds over longer times.
constexpr double kShareWindowNs = 200e6;
constexpr double kLatelyBytes = 64e6;

}  // namespace

const char* to_string(Mode mode) {
  switch (mode) {
    case Mode::kAuto:
      return "auto";
    case Mode::kPlain:
      return "plain";
    case Mode::kCompress:
      return "compress";
  }
  return "unknown";
}

ModeControl::ModeControl(ModeMix mix, double processors) : processors_(processors), mix_(mix) {}

void ModeControl::set(const ModeMix& mix) {
  const std::lock_guard lock(mutex_);
  mix_ = mix;
}

ModeMix ModeControl::mix() const {
  const std::lock_guard lock(mutex_);
  return mix_;
}

bool ModeControl::has_processor_time_locked(TimePoint now) {
  if (std::isinf(processors_)) return true;
  const double most = processors_ * kShareWindowNs;
  if (!credited_to_) {
    credit_ns_ = most;
  } else if (now > *credited_to_) {
    const std::chrono::duration<double, std::nano> passed = now - *credited_to_;
    credit_ns_ = std::min(credit_ns_ + passed.count() * processors_, most);
  }
  credited_to_ = now;
  return credit_ns_ > 0;
}

std::optional<int> ModeControl::next(TimePoint now) {
  const std::lock_guard lock(mutex_);
  if (!mix_.light && (!mix_.strong || mix_.strong_share <= 0)) return std::nullopt;
  if (!has_processor_time_locked(now)) return std::nullopt;
  // Spread evenly: a burst of one way and a burst of the other would empty and flood the link.
  strong_due_ += mix_.strong_share;
  if (strong_due_ < 1) return mix_.light;
  strong_due_ -= 1;
  return mix_.strong;
}

void ModeControl::note(const Outcome& outcome) {
  const std::lock_guard lock(mutex_);
  if (outcome.wire_bytes < outcome.raw_bytes) {
    totals_.packed_bytes += outcome.raw_bytes;
    totals_.by_level[outcome.level] += outcome.raw_bytes;
    totals_.saved_bytes += outcome.raw_bytes - outcome.wire_bytes;
  }
  const double packed = outcome.wire_bytes < outcome.raw_bytes ? 1 : 0;
  const double weight = std::min(1.0, static_cast<double>(outcome.raw_bytes) / kLatelyBytes);
  gaining_ += weight * (packed - gaining_);
  totals_.processor_ns += outcome.processor_ns;
  credit_ns_ -= static_cast<double>(outcome.processor_ns);
}

void ModeControl::ask_for_costs(int level_max) {
  const std::lock_guard lock(mutex_);
  costs_wanted_ = level_max;
}

std::optional<int> ModeControl::costs_wanted() {
  const std::lock_guard lock(mutex_);
  return std::exchange(costs_wanted_, std::nullopt);
}

void ModeControl::note_costs(std::vector<compression::LevelCost> costs) {
  const std::lock_guard lock(mutex_);
  costs_ = std::move(costs);
}

std::vector<compression::LevelCost> ModeControl::take_costs() {
  const std::lock_guard lock(mutex_);
  return std::exchange(costs_, {});
}

double ModeControl::gaining() const {
  const std::lock_guard lock(mutex_);
  return gaining_;
}

ModeControl::Totals ModeControl::totals() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

}  // namespace vhdxm::transfer
