// How far a piece of work is: what a progress display shows, whatever the work is.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "transfer/progress.h"

namespace vhdxm::tools {

/// Units: bytes.
struct ProgressSample {
  std::string phase;             ///< "copying": what is being done.
  std::string disk;              ///< To what; printable() was not applied yet.
  std::uint32_t disk_index = 0;  ///< From 0.
  std::uint32_t disk_count = 1;
  std::uint64_t done = 0;                                ///< Of this phase.
  std::uint64_t total = 0;                               ///< Of this phase; 0 where nobody knows.
  std::optional<transfer::Progress> job = std::nullopt;  ///< Of a transfer: everything there is.
};

ProgressSample sample_of(const transfer::Progress& progress);

/// How fast: bytes done over the last seconds. A meter is of one phase.
class Pace {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  /// What rates are averaged over.
  static constexpr std::chrono::seconds kWindow{10};
  /// Less time says nothing about a rate.
  static constexpr std::chrono::milliseconds kTimeMin{250};

  void add(TimePoint now, std::uint64_t done);
  void reset() { points_.clear(); }

  /// 0 as long as there is nothing to tell it from.
  std::uint64_t bytes_per_second() const;
  /// Until `total` is done; nullopt where nobody knows.
  std::optional<std::chrono::seconds> remaining(std::uint64_t total) const;

 private:
  struct Point {
    TimePoint time;
    std::uint64_t done;
  };
  std::deque<Point> points_;
};

/// "copying web01.vhdx: 42%, 3.4 GiB of 8 GiB, wire 2.1 GiB, ...": a line of a log.
std::string progress_line(const ProgressSample& sample, const Pace& pace);

/// "copying web01.vhdx  42% [#####-------] ...", at most `columns` - 1 characters: what matters
/// less is left out where there is no room.
std::string progress_bar(const ProgressSample& sample, const Pace& pace, unsigned columns);

/// The members of {"type":"progress"}.
boost::json::object progress_fields(const ProgressSample& sample, const Pace& pace);

/// "41 s", "3:05 min", "1:02:10 h".
std::string format_duration(std::chrono::seconds duration);
/// "112.4 MiB/s"
std::string format_rate(std::uint64_t bytes_per_second);

}  // namespace vhdxm::tools
