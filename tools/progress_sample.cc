#include "tools/progress_sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/size_text.h"
#include "tools/json_output.h"
#include "tools/mode_text.h"
#include "tools/printable_text.h"

namespace vhdxm::tools {
namespace {

/// Of a disk's name in a bar. Units: characters.
constexpr std::size_t kNameCharactersMax = 28;
constexpr std::size_t kBarCharactersMax = 30;
constexpr std::size_t kBarCharactersMin = 8;

/// Characters, not bytes: bytes of UTF-8 that begin one.
std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string first_characters(std::string_view text, std::size_t count) {
  std::size_t bytes = 0;
  for (; bytes < text.size(); ++bytes) {
    const bool begins = (static_cast<unsigned char>(text[bytes]) & 0xc0) != 0x80;
    if (begins && count-- == 0) break;
  }
  return std::string(text.substr(0, bytes));
}

std::string short_name(const std::string& disk) {
  std::string name = printable(disk);
  if (characters(name) <= kNameCharactersMax) return name;
  return first_characters(name, kNameCharactersMax - 1) + "~";
}

/// 0-100; 100 only when all is done.
unsigned percent_of(std::uint64_t done, std::uint64_t total) {
  if (done >= total) return 100;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  return std::min(99U, static_cast<unsigned>(share * 100));
}

std::string title(const ProgressSample& sample, const std::string& name) {
  std::string text = sample.phase;
  if (!name.empty()) text += " " + name;
  if (sample.disk_count > 1) {
    text += fmt::format(" ({} of {})", sample.disk_index + 1, sample.disk_count);
  }
  return text;
}

std::string amount(const ProgressSample& sample) {
  if (sample.total == 0) return format_size(sample.done);
  return fmt::format("{} of {}", format_size(sample.done), format_size(sample.total));
}

/// What did not have to be sent; empty if nothing was saved yet.
std::string saved(const transfer::Progress& job) {
  const std::uint64_t sum =
      job.unallocated_bytes + job.zero_bytes + job.same_bytes + job.compressed_bytes;
  if (sum == 0) return "";
  std::string parts = fmt::format("unallocated {}, zero {}", format_size(job.unallocated_bytes),
                                  format_size(job.zero_bytes));
  if (job.same_bytes > 0) parts += ", already there " + format_size(job.same_bytes);
  if (job.compressed_bytes > 0) parts += ", compressed " + format_size(job.compressed_bytes);
  return fmt::format("saved {} ({})", format_size(sum), parts);
}

/// Whether payload flows, and it is known how.
bool travels(const transfer::Progress& job) {
  return job.mode && job.phase == transfer::Phase::kCopying;
}

std::string drawn_bar(const ProgressSample& sample, std::size_t width) {
  std::size_t filled = width;
  if (sample.done < sample.total) {
    const double share = static_cast<double>(sample.done) / static_cast<double>(sample.total);
    filled = std::min(width, static_cast<std::size_t>(share * static_cast<double>(width)));
  }
  return "[" + std::string(filled, '#') + std::string(width - filled, '-') + "]";
}

}  // namespace

ProgressSample sample_of(const transfer::Progress& progress) {
  ProgressSample sample;
  sample.phase = transfer::to_string(progress.phase);
  sample.disk = progress.disk;
  sample.disk_index = progress.disk_index;
  sample.disk_count = progress.disk_count;
  const bool copying = progress.phase == transfer::Phase::kCopying;
  sample.done = copying ? progress.bytes_done : progress.phase_bytes_done;
  sample.total = copying ? progress.bytes_total : progress.phase_bytes_total;
  sample.job = progress;
  return sample;
}

void Pace::add(TimePoint now, std::uint64_t done) {
  if (!points_.empty() && done < points_.back().done) points_.clear();
  points_.push_back({now, done});
  // One point older than the window stays, so that the window is full.
  while (points_.size() > 2 && now - points_[1].time >= kWindow) points_.pop_front();
}

std::uint64_t Pace::bytes_per_second() const {
  if (points_.size() < 2) return 0;
  const std::chrono::duration<double> time = points_.back().time - points_.front().time;
  if (time < kTimeMin) return 0;
  const auto bytes = static_cast<double>(points_.back().done - points_.front().done);
  return static_cast<std::uint64_t>(bytes / time.count());
}

std::optional<std::chrono::seconds> Pace::remaining(std::uint64_t total) const {
  const std::uint64_t rate = bytes_per_second();
  if (rate == 0 || points_.back().done > total) return std::nullopt;
  return std::chrono::seconds((total - points_.back().done + rate - 1) / rate);
}

std::string progress_line(const ProgressSample& sample, const Pace& pace) {
  std::string line = title(sample, printable(sample.disk));
  if (sample.total == 0 && sample.done == 0) return line;
  line += ": ";
  if (sample.total > 0) line += fmt::format("{}%, ", percent_of(sample.done, sample.total));
  line += amount(sample);
  if (sample.job) {
    line += ", wire " + format_size(sample.job->wire_bytes);
    if (const std::string text = saved(*sample.job); !text.empty()) line += ", " + text;
    if (travels(*sample.job)) line += ", " + mode_text(*sample.job->mode);
  }
  if (const auto rate = pace.bytes_per_second(); rate > 0) line += ", " + format_rate(rate);
  if (const auto left = pace.remaining(sample.total); left && sample.done < sample.total) {
    line += ", " + format_duration(*left) + " left";
  }
  return line;
}

std::string progress_bar(const ProgressSample& sample, const Pace& pace, unsigned columns) {
  const std::size_t room = columns > 1 ? columns - 1 : 1;
  std::string line = title(sample, short_name(sample.disk));
  if (sample.total == 0 && sample.done == 0) return first_characters(line, room);
  if (sample.total > 0) line += fmt::format(" {:3}%", percent_of(sample.done, sample.total));

  // In the order in which they are wanted; those for which there is no room are left out.
  std::vector<std::string> parts;
  parts.push_back(amount(sample));
  if (const auto rate = pace.bytes_per_second(); rate > 0) parts.push_back(format_rate(rate));
  if (const auto left = pace.remaining(sample.total); left && sample.done < sample.total) {
    parts.push_back("ETA " + format_duration(*left));
  }
  if (sample.job) {
    parts.push_back("wire " + format_size(sample.job->wire_bytes));
    if (travels(*sample.job)) parts.push_back(mode_text(*sample.job->mode));
    if (std::string text = saved(*sample.job); !text.empty()) parts.push_back(std::move(text));
  }
  std::string tail;
  const std::size_t bar_least = sample.total > 0 ? kBarCharactersMin + 3 : 0;
  for (const std::string& part : parts) {
    if (characters(line) + bar_least + characters(tail) + 2 + characters(part) > room) break;
    tail += "  " + part;
  }
  if (sample.total > 0) {
    const std::size_t used = characters(line) + characters(tail) + 3;
    if (used + kBarCharactersMin <= room) {
      line += " " + drawn_bar(sample, std::min(kBarCharactersMax, room - used));
    }
  }
  return first_characters(line + tail, room);
}

boost::json::object progress_fields(const ProgressSample& sample, const Pace& pace) {
  boost::json::object fields;
  fields["phase"] = json_text(sample.phase);
  fields["disk"] = json_text(sample.disk);
  fields["disk_index"] = sample.disk_index;
  fields["disk_count"] = sample.disk_count;
  fields["phase_bytes_done"] = sample.done;
  fields["phase_bytes_total"] = sample.total;
  if (sample.total > 0) fields["percent"] = percent_of(sample.done, sample.total);
  if (sample.job) {
    const transfer::Progress& job = *sample.job;
    fields["bytes_done"] = job.bytes_done;
    fields["bytes_total"] = job.bytes_total;
    fields["wire_bytes"] = job.wire_bytes;
    fields["zero_bytes"] = job.zero_bytes;
    fields["unallocated_bytes"] = job.unallocated_bytes;
    fields["same_bytes"] = job.same_bytes;
    fields["compressed_bytes"] = job.compressed_bytes;
    if (job.mode) add_mode(fields, *job.mode);
    fields["resumed_bytes"] = job.resumed_bytes;
    fields["written_bytes"] = job.written_bytes;
    fields["durable_bytes"] = job.durable_bytes;
    fields["streams"] = job.streams;
    fields["elapsed_ms"] =
        std::chrono::duration_cast<std::chrono::milliseconds>(job.elapsed).count();
  }
  fields["bytes_per_second"] = pace.bytes_per_second();
  if (const auto left = pace.remaining(sample.total)) {
    fields["eta_seconds"] = left->count();
  } else {
    fields["eta_seconds"] = nullptr;
  }
  return fields;
}

std::string format_duration(std::chrono::seconds duration) {
  const auto count = duration.count();
  if (count < 60) return fmt::format("{} s", count);
  if (count < 3600) return fmt::format("{}:{:02} min", count / 60, count % 60);
  return fmt::format("{}:{:02}:{:02} h", count / 3600, count / 60 % 60, count % 60);
}

std::string format_rate(std::uint64_t bytes_per_second) {
  return format_size(bytes_per_second) + "/s";
}

}  // namespace vhdxm::tools
