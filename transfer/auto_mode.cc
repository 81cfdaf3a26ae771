#include "transfer/auto_mode.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace vhdxm::transfer {
namespace {

constexpr std::array<int, 7> kLadder = {-5, -1, 1, 3, 6, 9, 12};

// What is assumed until it was measured on the disk's own data: programs and text, on a server of
// 2020 (docs/compression.md#levels).
constexpr std::array<compression::LevelCost, 8> kAssumed = {{
    {},
    {.level = -5, .ratio = 0.52, .compress_s_per_byte = 1.0e-9, .decompress_s_per_byte = 0.5e-9},
    {.level = -1, .ratio = 0.43, .compress_s_per_byte = 1.4e-9, .decompress_s_per_byte = 0.7e-9},
    {.level = 1, .ratio = 0.34, .compress_s_per_byte = 2.0e-9, .decompress_s_per_byte = 0.8e-9},
    {.level = 3, .ratio = 0.31, .compress_s_per_byte = 4.0e-9, .decompress_s_per_byte = 0.8e-9},
    {.level = 6, .ratio = 0.29, .compress_s_per_byte = 11e-9, .decompress_s_per_byte = 0.8e-9},
    {.level = 9, .ratio = 0.28, .compress_s_per_byte = 20e-9, .decompress_s_per_byte = 0.8e-9},
    {.level = 12, .ratio = 0.275, .compress_s_per_byte = 50e-9, .decompress_s_per_byte = 0.8e-9},
}};

// Of the streams that processors could run at once: what waits more than the first leaves processor
// time unused, what waits less than the second is about to leave the link empty. Between the two
// nothing is changed: hysteresis. Streams beyond the processors wait for one or for the link, and
// nobody can tell: they widen the span between the two.
constexpr double kHeldBackMuch = 0.14;
constexpr double kHeldBackLittle = 0.05;
constexpr double kSurplusLittle = 0.3;
// Rows a second, when streams do nothing but wait, or never wait. What the kernel holds for the
// link hides for some tenths of a second what a move did, so moves begin slowly and get faster only
// as long as they go one way: else the choice would swing about the right one.
constexpr double kRowsPerSecond = 1.2;
constexpr double kFasterAfterSeconds = 0.5;
// Up to where the model puts it for the rate at which the link takes bytes.
constexpr double kKnownRowsPerSecond = 30;
// What the rest costs either side for each byte of the disk and of the wire: copies, hashes,
// sockets (docs/performance.md). CPU seconds.
constexpr compression::HostCost kAssumedHost = {
    .cores = 1, .s_per_raw_byte = 0.4e-9, .s_per_wire_byte = 0.5e-9};
// Of the processors, what the streams are taken to get: others run, too, and perhaps the other host
// is this one.
constexpr double kProcessorShare = 0.75;
// Rows a second by which what was too much may be taken for granted again.
constexpr double kTriedAgain = 0.5;
// What goes before anything is known of the link is compressed by so much: on a slow one it is full
// for half a second of what goes plain, and where nothing holds the streams back, compressing costs
// some hundredths of the time that is passed until that is known: until the receiver was heard and
// costs were measured, or for so long.
constexpr int kStartLevel = 1;
constexpr double kStartSeconds = 0.1;
// Streams that wait for nothing do not prove that the link is fast: the kernel takes some MiB of
// each. As long as it holds more than this part of all that was sent, the beginning lasts, but no
// longer than that. (A receiver that does not keep up looks the same; it loses little by it, as
// what the kernel takes is soon a small part.)
constexpr double kQueuedMuch = 0.25;
constexpr double kStartQueuedSeconds = 1;
// What the link carried when it last held the streams back is taken for what it carries, for so
// long. It is nearly full from the first part of that to the second; beyond that it has got faster,
// and the choice goes down by so many times the rows.
constexpr double kLinkKnownSeconds = 0.5;
constexpr double kNearlyFull = 0.75;
constexpr double kFaster = 1.15;
constexpr double kFasterWish = 2;
// Samples are smoothed over about this time.
constexpr double kSmoothSeconds = 0.08;
// A receiver whose streams wait for bytes less than the first part of their time holds the job
// back; one whose streams wait more than the second does not. Measured on a 2-core host: 0.87 to
// 0.95 behind a link that is the bottleneck, 0.0 to 0.46 where the receiver's disk is
// (docs/compression.md).
constexpr double kReceiverBusy = 0.30;
constexpr double kReceiverIdle = 0.60;
// As long as the receiver has said nothing, only streams that do little but wait say that it is the
// link.
constexpr double kHeldBackMost = 0.60;
// A level that saves less than this of the wire's bytes is not worth its processor time.
constexpr double kRatioGainMin = 0.02;
// How often the costs are looked at again, once they were a few times.
constexpr double kCostsSeconds = 2.0;
constexpr unsigned kCostsAtOnce = 3;
// A new measurement counts as much as all before it.
constexpr double kNewWeight = 0.5;

double smoothed(double before, double now, double seconds) {
  const double weight = 1 - std::exp(-seconds / kSmoothSeconds);
  return before + weight * (now - before);
}

// Rows that may be taken: of levels that the contexts have, each with a real gain over the one
// before.
std::vector<compression::LevelCost> usable(std::span<const compression::LevelCost> costs,
                                           int level_max) {
  std::vector<compression::LevelCost> rows;
  for (const auto& cost : costs) {
    if (cost.level > level_max) continue;
    if (!rows.empty() && cost.ratio > rows.back().ratio * (1 - kRatioGainMin)) continue;
    rows.push_back(cost);
  }
  return rows;
}

// The share of the streams for which there is no processor.
double surplus(const AutoMode::Host& host) {
  return std::max(0.0, 1 - host.processors / std::max(host.streams, 1.0));
}

std::optional<int> way_of(const compression::LevelCost& row) {
  if (row.level == compression::kLevelPlain) return std::nullopt;
  return row.level;
}

}  // namespace

std::span<const int> AutoMode::ladder() {
  return kLadder;
}

AutoMode::AutoMode(const Host& host)
    : host_(host),
      held_back_much_(std::lerp(kHeldBackMuch, 1, surplus(host))),
      held_back_little_(kHeldBackLittle + kSurplusLittle * surplus(host)),
      known_(kAssumed.begin(), kAssumed.end()),
      model_(usable(known_, host.level_max)),
      position_(position_of(std::min(kStartLevel, host.level_max))) {}

void AutoMode::learn(std::span<const compression::LevelCost> costs) {
  const bool at_least = position_ <= position_min_;
  const compression::Mix before = model_.at(position_);
  const int fast = model_.rows()[before.fast].level;
  const int strong = model_.rows()[before.strong].level;
  const bool of_all = std::any_of(costs.begin(), costs.end(),
                                  [](const auto& cost) { return cost.level > kLevelCheapMax; });
  const bool is_first = learned_ == 0 && (of_all || learned_cheap_ == 0);
  merge(costs, is_first ? 1 : kNewWeight);
  ++(of_all ? learned_ : learned_cheap_);
  seconds_since_costs_ = 0;
  model_ = compression::LinkModel(usable(known_, host_.level_max));
  // Rows come and go with what they cost: the same place is where the same levels are.
  position_ = std::lerp(position_of(fast), position_of(strong), before.strong_share);
  position_min_ = position_for(compression::Conditions::kNoLimit, 1);
  // What is at its least was not put there by the link: a sample that compressed too well did.
  position_ = at_least ? position_min_ : std::max(position_, position_min_);
}

void AutoMode::merge(std::span<const compression::LevelCost> costs, double weight) {
  // By so much the disk's data are better than what was assumed, at the strongest that was tried.
  double better = 1;
  for (auto& before : known_) {
    const auto now = std::find_if(costs.begin(), costs.end(),
                                  [&](const auto& cost) { return cost.level == before.level; });
    if (now == costs.end()) {
      if (learned_ == 0) before.ratio = std::min(1.0, before.ratio * better);
      continue;
    }
    const double ratio = before.ratio;
    before.ratio = std::lerp(before.ratio, now->ratio, weight);
    before.compress_s_per_byte =
        std::lerp(before.compress_s_per_byte, now->compress_s_per_byte, weight);
    before.decompress_s_per_byte =
        std::lerp(before.decompress_s_per_byte, now->decompress_s_per_byte, weight);
    better = before.ratio / ratio;
  }
}

double AutoMode::position_of(int level) const {
  double position = 0;
  while (position < model_.position_max() &&
         model_.rows()[model_.at(position).fast].level < level) {
    ++position;
  }
  return position;
}

std::optional<int> AutoMode::wants_costs() const {
  // Strong levels take many times as long to try as the extent takes to be sent.
  const bool all = pressed_;
  const unsigned learned = all ? learned_ : learned_cheap_;
  if (learned >= kCostsAtOnce && seconds_since_costs_ <= kCostsSeconds) return std::nullopt;
  return all ? kLadder.back() : kLevelCheapMax;
}

void AutoMode::judge(const Sample& sample) {
  if (held_back_ >= kHeldBackLittle) {
    bottleneck_ = Bottleneck::kLink;
    if (sample.receiver && receiver_idle_ < kReceiverBusy) {
      bottleneck_ = sample.receiver->unpacking > sample.receiver->writing
                        ? Bottleneck::kDestinationProcessor
                        : Bottleneck::kDestinationDisk;
    }
  } else {
    bottleneck_ = sample.reading > 0.5 ? Bottleneck::kSourceDisk : Bottleneck::kSourceProcessor;
  }
}

ModeMix AutoMode::observe(const Sample& sample) {
  seconds_since_costs_ += sample.seconds;
  if (!begun_) {
    held_back_ = sample.held_back;
    wire_bytes_per_second_ = sample.wire_bytes_per_second;
    begun_ = true;
  }
  held_back_ = smoothed(held_back_, sample.held_back, sample.seconds);
  if (sample.receiver) {
    receiver_idle_ = smoothed(receiver_idle_, sample.receiver->waiting, sample.seconds);
  }
  wire_bytes_per_second_ =
      smoothed(wire_bytes_per_second_, sample.wire_bytes_per_second, sample.seconds);
  judge(sample);
  const double idle =
      std::clamp((receiver_idle_ - kReceiverBusy) / (kReceiverIdle - kReceiverBusy), 0.0, 1.0);
  const bool heard = sample.receiver.has_value();
  const double pressure = heard || held_back_ > kHeldBackMost ? held_back_ * idle : 0;
  pressed_ = pressure > held_back_much_;
  if (starting_) {
    start_seconds_ += sample.seconds;
    const bool knows = heard && learned_ + learned_cheap_ > 0;
    if (!knows && start_seconds_ < kStartSeconds) return mix();
    if (!pressed_ && sample.queued > kQueuedMuch && start_seconds_ < kStartQueuedSeconds) {
      return mix();
    }
    starting_ = false;
    if (!pressed_) {
      position_ = position_min_;
      begun_ = false;  // what is seen from here on has nothing to do with what was
      return mix();
    }
  }
  double wish = 0;
  if (pressed_) wish = (pressure - held_back_much_) / (1 - held_back_much_);
  note_link(sample.seconds, pressure);
  if (pressure < held_back_little_ && !link_is_nearly_full()) {
    wish = (pressure - held_back_little_) / held_back_little_;
    if (link_full() > kFaster) wish *= kFasterWish;
  }
  move(wish, sample.seconds);
  if (wish > 0) approach(sample.seconds);
  return mix();
}

void AutoMode::note_link(double seconds, double pressure) {
  link_known_seconds_ += seconds;
  if (pressure >= held_back_little_) {
    link_bytes_per_second_ = wire_bytes_per_second_;
    link_known_seconds_ = 0;
  }
}

// Of what the link carries, as far as that is known, what goes over it.
double AutoMode::link_full() const {
  return link_bytes_per_second_ > 0 ? wire_bytes_per_second_ / link_bytes_per_second_ : 0;
}

// Streams that wait for nothing leave the link empty, or are just as fast as it is. Then less
// compression would win next to nothing, and a little too little of it makes everybody wait: the
// bytes that level 1 saves of text are six times what they leave.
bool AutoMode::link_is_nearly_full() const {
  const double full = link_full();
  return link_known_seconds_ < kLinkKnownSeconds && full > kNearlyFull && full < kFaster;
}

// Up to where the model puts it, if the link is what holds it back: a link that is slow, or has
// become it, would be full of what is compressed too little before it is found by trying. Of levels
// that were not tried on the disk's data nothing is taken for granted, nor of those that were too
// much lately: then others need the processors.
void AutoMode::approach(double seconds) {
  if (wire_bytes_per_second_ <= 0) return;
  const double about = position_for(wire_bytes_per_second_, kProcessorShare);
  const double known = learned_ > 0 ? model_.position_max() : position_of(kLevelCheapMax);
  const double soon = position_ + kKnownRowsPerSecond * seconds;
  position_ = std::max(position_, std::min({about, known, too_much_, soon}));
}

// Where it will be about, if the link carries no more than that.
double AutoMode::position_for(double link_bytes_per_s, double processor_share) const {
  compression::HostCost host = kAssumedHost;
  host.cores = std::min(host_.processors, host_.streams) * processor_share;
  return model_.best_position({.sender = host,
                               .receiver = host,
                               .link_bytes_per_s = link_bytes_per_s,
                               .streams = host_.streams});
}

// `wish`: 1 as fast as may be towards the strongest, -1 towards plain.
void AutoMode::move(double wish, double seconds) {
  if (wish * one_way_seconds_ < 0) one_way_seconds_ = 0;
  too_much_ = wish < 0 && position_ > position_min_ ? position_ : too_much_ + kTriedAgain * seconds;
  const double rows_per_second =
      kRowsPerSecond * (1 + std::abs(one_way_seconds_) / kFasterAfterSeconds);
  position_ += wish * rows_per_second * seconds;
  position_ = std::clamp(position_, position_min_, model_.position_max());
  if (wish != 0) one_way_seconds_ += std::copysign(seconds, wish);
}

ModeMix AutoMode::mix() const {
  const compression::Mix mix = model_.at(position_);
  const auto rows = model_.rows();
  return {.light = way_of(rows[mix.fast]),
          .strong = way_of(rows[mix.strong_share > 0 ? mix.strong : mix.fast]),
          .strong_share = mix.strong_share};
}

}  // namespace vhdxm::transfer
