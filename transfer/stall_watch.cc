#include "transfer/stall_watch.h"

#include <fmt/format.h>

#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kSlowestBytesPerMillisecond = 4 * 1024 * 1024 / 1000;

}  // namespace

std::chrono::milliseconds StallWatch::patience(std::chrono::milliseconds stall,
                                               std::uint64_t work_bytes) {
  return stall + std::chrono::milliseconds(work_bytes / kSlowestBytesPerMillisecond);
}

std::optional<Error> StallWatch::look(const Awaited& awaited, std::uint64_t movement,
                                      TimePoint now) {
  if (awaited.what == nullptr || awaited.what != what_ || movement != movement_) {
    what_ = awaited.what;
    movement_ = movement;
    since_ = now;
    return std::nullopt;
  }
  if (now - since_ <= patience(stall_, awaited.work_bytes)) return std::nullopt;
  return Error{.code = Errc::kTimeout, .where = awaited.what};
}

std::string stalled_text(const Error& stalled) {
  return fmt::format("{} is alive, but the job does not get on. Awaited from it: {}.",
                     stalled.subject, stalled.where);
}

}  // namespace vhdxm::transfer
