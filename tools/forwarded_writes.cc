#include "tools/forwarded_writes.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/random.h"

namespace vhdxm::tools {

ForwardedWrites::ForwardedWrites() : instance_(random_u64()) {}

void ForwardedWrites::allow(const std::string& job) {
  const std::lock_guard lock(mutex_);
  job_ = job;
  ended_ = false;
  open_ = true;
}

ForwardedWrites::Outcome ForwardedWrites::begin(const std::string& job, const std::string& disk) {
  const std::lock_guard lock(mutex_);
  if (job_.empty() || job != job_) return {.session = std::nullopt};
  // From here on the earlier session is over, whether or not this one can begin already.
  Current& current = current_[disk];
  current = {.number = ++sessions_,
             .export_name = fmt::format("forward-{:016x}{:016x}", random_u64(), random_u64())};
  if (under_way_ > 0) return {.session = std::nullopt, .refusal = Refusal::kNotYet};
  return {.session = Session{.number = current.number, .export_name = current.export_name}};
}

std::optional<ForwardedWrites::Meaning> ForwardedWrites::find(
    const std::string& export_name) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(current_.begin(), current_.end(), [&](const auto& one) {
    return one.second.export_name == export_name;
  });
  if (found == current_.end()) return std::nullopt;
  return Meaning{.disk = found->first, .session = found->second.number};
}

void ForwardedWrites::end() {
  std::unique_lock lock(mutex_);
  ended_ = true;
  left_.wait(lock, [this] { return under_way_ == 0; });
  open_ = false;
}

bool ForwardedWrites::enter(std::uint64_t session) {
  const std::lock_guard lock(mutex_);
  const bool is_current = std::any_of(current_.begin(), current_.end(), [&](const auto& one) {
    return one.second.number == session;
  });
  if (ended_ || !is_current) return false;
  ++under_way_;
  return true;
}

void ForwardedWrites::leave() {
  const std::lock_guard lock(mutex_);
  if (--under_way_ == 0) left_.notify_all();
}

}  // namespace vhdxm::tools
