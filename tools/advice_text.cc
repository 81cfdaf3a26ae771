#include "tools/advice_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <cmath>

#include "base/size_text.h"
#include "tools/bit_rate.h"
#include "tools/json_output.h"
#include "tools/printable_text.h"
#include "tools/progress_sample.h"

namespace vhdxm::tools {
namespace {

using compression::Limit;
using transfer::Advice;
using transfer::Mode;

std::string level_text(const std::optional<int>& level) {
  return level ? fmt::format("level {}", *level) : std::string("plain");
}

std::string mode_name(const Advice::Row& row) {
  switch (row.mode) {
    case Mode::kPlain:
      return "plain";
    case Mode::kCompress:
      return level_text(row.level);
    case Mode::kAuto:
      break;
  }
  if (row.strong_share < 0.005 || row.light == row.level) {
    return fmt::format("auto: {}", level_text(row.light));
  }
  if (row.strong_share > 0.995) return fmt::format("auto: {}", level_text(row.level));
  return fmt::format("auto: {:.0f}% {}, {:.0f}% {}", (1 - row.strong_share) * 100,
                     level_text(row.light), row.strong_share * 100, level_text(row.level));
}

const char* limit_text(Limit limit) {
  switch (limit) {
    case Limit::kNone:
      break;
    case Limit::kLink:
      return "the network";
    case Limit::kSenderCpu:
      return "the processors here";
    case Limit::kReceiverCpu:
      return "the processors there";
    case Limit::kSourceDisk:
      return "reading the disk";
    case Limit::kDestinationDisk:
      return "writing the disk";
    case Limit::kStreams:
      return "the number of streams";
  }
  return "nothing known";
}

std::string seconds_text(double seconds) {
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  return format_duration(std::chrono::seconds(std::llround(seconds)));
}

std::uint64_t whole(double bytes) {
  return static_cast<std::uint64_t>(std::llround(std::max(bytes, 0.0)));
}

/// What to write after `send DISK HOST`.
std::string options_text(const Advice::Row& row) {
  if (row.mode == Mode::kCompress) return fmt::format("--mode compress --level {}", *row.level);
  return fmt::format("--mode {}", to_string(row.mode));
}

std::string link_text(const Advice& advice) {
  const double rate = advice.conditions.link_bytes_per_s;
  if (std::isinf(rate)) return "faster than the rest: it was never the bottleneck";
  return format_bit_rate(rate);
}

}  // namespace

std::string recommendation(const Advice& advice) {
  const Advice::Row& best = advice.rows[advice.recommended];
  const double plain = advice.rows.front().prediction.seconds;
  const double seconds = best.prediction.seconds;
  if (best.mode == Mode::kPlain) {
    return fmt::format(
        "Take --mode plain, or leave it to auto: {}, and compression would win "
        "nothing, for {} is the bottleneck.",
        seconds_text(seconds), limit_text(best.prediction.limit));
  }
  return fmt::format("Take {}: {}, {:.1f} times as fast as plain.", options_text(best),
                     seconds_text(seconds), seconds > 0 ? plain / seconds : 1);
}

std::string advice_text(const Advice& advice) {
  std::string out;
  if (!advice.peer.empty()) out += fmt::format("To {}\n", printable(advice.peer));
  out += fmt::format("Link: {}\n", link_text(advice));
  out += fmt::format(
      "Disk: {} to move; a sample of {} has {:.0f}% zeros, {:.0f}% does not compress\n\n",
      format_size(advice.payload_bytes), format_size(advice.sample_bytes), advice.zero_share * 100,
      advice.incompressible_share * 100);
  std::size_t width = 4;
  for (const auto& row : advice.rows) width = std::max(width, mode_name(row).size());
  out += fmt::format("  {:<{}}  {:>9}  {:>11}  {:>9}  {:>9}  {}\n", "mode", width, "time",
                     "on the wire", "CPU here", "CPU there", "bottleneck");
  for (std::size_t i = 0; i < advice.rows.size(); ++i) {
    const auto& row = advice.rows[i];
    const auto& prediction = row.prediction;
    out += fmt::format("{} {:<{}}  {:>9}  {:>11}  {:>9}  {:>9}  {}\n",
                       i == advice.recommended ? '*' : ' ', mode_name(row), width,
                       seconds_text(prediction.seconds), format_size(whole(prediction.wire_bytes)),
                       seconds_text(prediction.sender_cpu_s),
                       seconds_text(prediction.receiver_cpu_s), limit_text(prediction.limit));
  }
  return out + "\n" + recommendation(advice) + "\n";
}

boost::json::object advice_json(const Advice& advice) {
  boost::json::object fields;
  fields["command"] = "advise";
  fields["exit"] = 0;
  fields["peer"] = nullptr;
  if (!advice.peer.empty()) fields["peer"] = json_text(advice.peer);
  fields["payload_bytes"] = advice.payload_bytes;
  fields["sample_bytes"] = advice.sample_bytes;
  fields["zero_share"] = advice.zero_share;
  fields["incompressible_share"] = advice.incompressible_share;
  const auto& all = advice.conditions;
  const auto rate = [&fields](const char* name, double value) {
    fields[name] = nullptr;  // no limit that is known
    if (std::isfinite(value)) fields[name] = whole(value);
  };
  rate("link_bytes_per_second", all.link_bytes_per_s);
  rate("source_bytes_per_second", all.source_bytes_per_s);
  rate("destination_bytes_per_second", all.destination_bytes_per_s);
  fields["one_machine"] = all.one_machine;
  fields["streams"] = whole(all.streams);
  boost::json::array modes;
  for (const auto& row : advice.rows) {
    boost::json::object one;
    one["mode"] = to_string(row.mode);
    one["level"] = nullptr;
    if (row.level) one["level"] = *row.level;
    if (row.mode == Mode::kAuto) {
      one["light_level"] = nullptr;
      if (row.light) one["light_level"] = *row.light;
      one["strong_share"] = std::round(row.strong_share * 1000) / 1000;
    }
    one["seconds"] = std::round(row.prediction.seconds * 1000) / 1000;
    one["wire_bytes"] = whole(row.prediction.wire_bytes);
    one["sender_cpu_seconds"] = std::round(row.prediction.sender_cpu_s * 1000) / 1000;
    one["receiver_cpu_seconds"] = std::round(row.prediction.receiver_cpu_s * 1000) / 1000;
    one["bottleneck"] = json_text(std::string(compression::to_string(row.prediction.limit)));
    modes.push_back(std::move(one));
  }
  fields["modes"] = std::move(modes);
  fields["recommended"] = options_text(advice.rows[advice.recommended]);
  fields["recommendation"] = json_text(recommendation(advice));
  return fields;
}

}  // namespace vhdxm::tools
