#include "tools/mode_text.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <cmath>
#include <optional>
#include <vector>

#include "base/size_text.h"

namespace vhdxm::tools {
namespace {

using transfer::Bottleneck;

struct Way {
  std::optional<int> level;
  double share = 1;
};

std::vector<Way> ways_of(const transfer::ModeMix& mix) {
  // Less than half a percent is not worth a word.
  constexpr double kShareMin = 0.005;
  if (mix.strong_share < kShareMin || mix.light == mix.strong) return {{.level = mix.light}};
  if (mix.strong_share > 1 - kShareMin) return {{.level = mix.strong}};
  return {{.level = mix.light, .share = 1 - mix.strong_share},
          {.level = mix.strong, .share = mix.strong_share}};
}

std::string level_text(const std::optional<int>& level) {
  return level ? fmt::format("level {}", *level) : std::string("plain");
}

/// "the network": what holds a job back.
const char* bottleneck_text(Bottleneck bottleneck) {
  switch (bottleneck) {
    case Bottleneck::kUnknown:
      break;
    case Bottleneck::kLink:
      return "the network";
    case Bottleneck::kSourceDisk:
      return "the disk here";
    case Bottleneck::kSourceProcessor:
      return "the processor here";
    case Bottleneck::kDestinationDisk:
      return "the disk there";
    case Bottleneck::kDestinationProcessor:
      return "the processor there";
  }
  return "nothing yet";
}

}  // namespace

std::string mode_text(const transfer::ModeReport& mode) {
  std::string text;
  for (const Way& way : ways_of(mode.mix)) {
    if (!text.empty()) text += ", ";
    if (way.share < 1) text += fmt::format("{:.0f}% ", way.share * 100);
    text += level_text(way.level);
  }
  // Less than this of it is as good as none.
  constexpr double kGainingMin = 0.02;
  if (mode.mix != transfer::ModeMix{} && mode.gaining < kGainingMin) {
    text = "plain, for the data does not compress";
  }
  if (mode.bottleneck == Bottleneck::kUnknown) return text;
  return fmt::format("{} ({} is the bottleneck)", text, bottleneck_text(mode.bottleneck));
}

std::string compression_text(const transfer::CompressionReport& report) {
  std::string text = fmt::format("{}: ", to_string(report.asked));
  if (report.packed_bytes > 0 && report.level) {
    text += fmt::format("{} compressed, mostly at level {}", format_size(report.packed_bytes),
                        *report.level);
  } else {
    text += "nothing was compressed";
    if (report.asked != transfer::Mode::kPlain && !report.supported)
      text += ", the receiver does not take it";
  }
  if (report.bottleneck == Bottleneck::kUnknown) return text;
  return fmt::format("{}; {} was the bottleneck", text, bottleneck_text(report.bottleneck));
}

void add_mode(boost::json::object& fields, const transfer::ModeReport& mode) {
  fields["mode"] = to_string(mode.asked);
  boost::json::array ways;
  for (const Way& way : ways_of(mode.mix)) {
    boost::json::object one;
    one["level"] = nullptr;
    if (way.level) one["level"] = *way.level;
    one["share"] = std::round(way.share * 1000) / 1000;
    ways.push_back(std::move(one));
  }
  fields["ways"] = std::move(ways);
  fields["gaining"] = std::round(mode.gaining * 1000) / 1000;
  fields["bottleneck"] = to_string(mode.bottleneck);
}

boost::json::object compression_fields(const transfer::CompressionReport& report) {
  boost::json::object fields;
  fields["packed_bytes"] = report.packed_bytes;
  fields["level"] = nullptr;
  if (report.level) fields["level"] = *report.level;
  fields["processor_ms"] = report.processor_ns / 1'000'000;
  fields["bottleneck"] = to_string(report.bottleneck);
  return fields;
}

}  // namespace vhdxm::tools
