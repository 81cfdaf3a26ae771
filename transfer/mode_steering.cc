#include "transfer/mode_steering.h"

#include <algorithm>
#include <limits>

#include "transfer/send_setup.h"

namespace vhdxm::transfer {
namespace {

double processor_limit(const SenderOptions& options) {
  if (options.cpu_share_percent >= 100) return std::numeric_limits<double>::infinity();
  return processors_of(options);
}

double share(std::uint64_t part, std::uint64_t all) {
  return all == 0 ? 0 : std::min(1.0, static_cast<double>(part) / static_cast<double>(all));
}

}  // namespace

ModeSteering::ModeSteering(const SenderOptions& options, const SenderBudget::Shares& shares)
    : mode_(options.mode),
      level_(options.mode == Mode::kCompress ? options.level
                                             : std::min(options.level, shares.level_max)),
      control_({}, processor_limit(options)),
      auto_({.level_max = shares.level_max,
             .processors = processors_of(options),
             .streams = static_cast<double>(shares.streams)}) {
  set_mode(mode_);
  if (mode_ == Mode::kAuto) control_.ask_for_costs(AutoMode::kLevelCheapMax);
}

void ModeSteering::set_mode(Mode mode) {
  mode_ = mode;
  if (mode == Mode::kAuto) control_.set(auto_.mix());
  if (mode == Mode::kPlain) control_.set({});
  if (mode == Mode::kCompress) {
    control_.set({.light = level_, .strong = level_, .strong_share = 0});
  }
}

void ModeSteering::note(const Load& load) {
  // The first one tells of all since the streams began.
  if (load.stream_us > load_before_.stream_us) {
    // A peer may say anything: what would count backwards counts as nothing.
    const auto since = [](std::uint64_t now, std::uint64_t then) {
      return now - std::min(now, then);
    };
    const std::uint64_t up = load.stream_us - load_before_.stream_us;
    receiver_ = {.waiting = share(since(load.waiting_us, load_before_.waiting_us), up),
                 .writing = share(since(load.writing_us, load_before_.writing_us), up),
                 .unpacking = share(since(load.unpacking_us, load_before_.unpacking_us), up)};
  }
  load_before_ = load;
}

void ModeSteering::steer(const SendStream::Work& work, std::uint64_t wire_bytes, TimePoint now) {
  const double up = seconds(work.up - before_.up);
  if (steered_at_ && up > 0) {
    const double passed = seconds(now - *steered_at_);
    const ModeMix mix = auto_.observe(
        {.seconds = passed,
         .held_back = std::clamp(seconds(work.held_back - before_.held_back) / up, 0.0, 1.0),
         .reading = std::clamp(seconds(work.reading - before_.reading) / up, 0.0, 1.0),
         .wire_bytes_per_second = static_cast<double>(wire_bytes - wire_bytes_before_) / passed,
         .queued = share(work.queued_bytes, wire_bytes),
         .receiver = receiver_});
    seconds_[auto_.bottleneck()] += passed;
    if (mode_ == Mode::kAuto) {
      control_.set(mix);
      if (const auto up_to = auto_.wants_costs()) control_.ask_for_costs(*up_to);
      if (const auto costs = control_.take_costs(); !costs.empty()) auto_.learn(costs);
    }
  }
  before_ = work;
  wire_bytes_before_ = wire_bytes;
  steered_at_ = now;
}

CompressionReport ModeSteering::summary() const {
  const ModeControl::Totals totals = control_.totals();
  CompressionReport report{
      .asked = mode_, .packed_bytes = totals.packed_bytes, .processor_ns = totals.processor_ns};
  std::uint64_t most = 0;
  for (const auto& [level, bytes] : totals.by_level) {
    if (bytes <= most) continue;
    most = bytes;
    report.level = level;
  }
  double longest = 0;
  for (const auto& [bottleneck, time] : seconds_) {
    if (time <= longest) continue;
    longest = time;
    report.bottleneck = bottleneck;
  }
  return report;
}

}  // namespace vhdxm::transfer
