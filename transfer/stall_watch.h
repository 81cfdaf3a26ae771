// Whether a job still gets on, as seen from one side: a peer may be alive, say so with heartbeats,
// and all the same never say what this side waits for.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace vhdxm::transfer {

/// What the other side owes.
struct Awaited {
  const char* what = nullptr;  ///< Null: nothing; it is this side that has to go on.
  /// Of a disk, that the other side may have to read or write before it can answer.
  std::uint64_t work_bytes = 0;
};

/// For a peer that takes nothing off its connection.
inline constexpr const char* kReadsWhatItIsTold = "that it reads what it is told";

/// Thread safety: none. No clock of its own.
class StallWatch {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  /// `stall`: how long an answer may take that costs no work.
  explicit StallWatch(std::chrono::milliseconds stall) : stall_(stall) {}

  /// To be called now and again. `movement`: a number that changes whenever the job gets on.
  /// Returns Errc::kTimeout, naming what is awaited, when nothing moved for so long while it was
  /// owed; work is given a second for each 4 MiB, as much as the slowest disk anybody would use.
  std::optional<Error> look(const Awaited& awaited, std::uint64_t movement, TimePoint now);

  /// What an answer that takes so much work may take. Cannot wrap.
  static std::chrono::milliseconds patience(std::chrono::milliseconds stall,
                                            std::uint64_t work_bytes);

 private:
  const std::chrono::milliseconds stall_;
  const char* what_ = nullptr;
  std::uint64_t movement_ = 0;
  TimePoint since_{};
};

/// `stalled`: of look(), with the peer as its subject.
std::string stalled_text(const Error& stalled);

}  // namespace vhdxm::transfer
