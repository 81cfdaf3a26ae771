#include "tools/progress_display.h"

#include <unistd.h>

#include <utility>

#include "tools/terminal.h"

namespace vhdxm::tools {
namespace {

bool due(std::optional<ProgressReporter::TimePoint>& shown, ProgressReporter::TimePoint now,
         std::chrono::milliseconds interval) {
  if (shown && now - *shown < interval) return false;
  shown = now;
  return true;
}

}  // namespace

ProgressMode progress_mode(const std::string& choice, bool json, bool stderr_can_redraw) {
  using enum ProgressMode::Human;
  if (choice == "none") return {};
  ProgressMode mode{.human = kNone, .json = json};
  if (choice == "bar") {
    mode.human = kBar;
  } else if (choice == "plain") {
    mode.human = kPlain;
  } else if (!json) {
    mode.human = stderr_can_redraw ? kBar : kPlain;
  }
  return mode;
}

ProgressReporter::ProgressReporter(Console& console, ProgressMode mode,
                                   std::function<unsigned()> columns, Options options)
    : console_(console), mode_(mode), columns_(std::move(columns)), options_(std::move(options)) {}

void ProgressReporter::update(const ProgressSample& sample, TimePoint now) {
  const bool first = !last_;
  const bool new_phase =
      first || last_->phase != sample.phase || last_->disk_index != sample.disk_index;
  if (new_phase) {
    pace_.reset();
    bar_shown_.reset();
    line_shown_.reset();
    object_shown_.reset();
  }
  if (first && options_.quiet_start) {
    line_shown_ = now;
    object_shown_ = now;
  }
  pace_.add(now, sample.done);
  last_ = sample;
  using enum ProgressMode::Human;
  if (mode_.human == kBar && due(bar_shown_, now, kBarInterval)) {
    console_.show_status(progress_bar(sample, pace_, columns_()));
  }
  if (mode_.human == kPlain) {
    if (due(line_shown_, now, kPlainInterval)) {
      show_line();
      said_ = true;
    } else {
      line_pending_ = said_;
    }
  }
  if (mode_.json) {
    if (due(object_shown_, now, kJsonInterval)) {
      show_object();
      said_ = true;
    } else {
      object_pending_ = said_;
    }
  }
}

void ProgressReporter::finish() {
  if (!last_) return;
  if (mode_.human == ProgressMode::Human::kPlain && line_pending_) show_line();
  if (mode_.json && object_pending_) show_object();
  if (mode_.human == ProgressMode::Human::kBar) console_.show_status("");
}

void ProgressReporter::show_line() {
  console_.talk(options_.prefix + progress_line(*last_, pace_));
  line_pending_ = false;
}

void ProgressReporter::show_object() {
  boost::json::object fields = options_.json_prefix;
  for (const auto& field : progress_fields(*last_, pace_)) fields[field.key()] = field.value();
  console_.object("progress", fields);
  console_.flush();
  object_pending_ = false;
}

ProgressDisplay::ProgressDisplay(Console& console, ProgressMode mode, bool quiet_start)
    : reporter_(console, mode, [] { return terminal_columns(STDERR_FILENO); },
                {.quiet_start = quiet_start}) {}

ProgressDisplay::~ProgressDisplay() {
  queue_.post([this] { reporter_.finish(); });
}

void ProgressDisplay::post(ProgressSample sample) {
  const std::string key = sample.phase + "\n" + std::to_string(sample.disk_index);
  queue_.post_latest(key, [this, sample = std::move(sample)] {
    reporter_.update(sample, std::chrono::steady_clock::now());
  });
}

}  // namespace vhdxm::tools
