#include "transfer/shared_gate.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace vhdxm::transfer {

SharedGate::~SharedGate() {
  VHDXM_CHECK(waiting_ == 0 && gate_.in_flight() == 0);
}

SharedGate::Pass::~Pass() {
  if (gate_ != nullptr) gate_->finish(*this);
}

// Turns are handed out in the order in which writes come, each as long as its bytes take.
void SharedGate::await_turn(std::unique_lock<std::mutex>& lock, std::uint64_t bytes) {
  if (throttle_ == 0 || gate_.state() != WriteGate::State::kTracking) return;
  using Clock = std::chrono::steady_clock;
  const Clock::time_point now = Clock::now();
  const Clock::time_point turn = std::min(std::max(now, next_turn_), now + kThrottledWaitMax);
  const std::chrono::duration<double> takes(static_cast<double>(bytes) /
                                            static_cast<double>(throttle_));
  next_turn_ = turn + std::chrono::duration_cast<Clock::duration>(
                          std::min<std::chrono::duration<double>>(takes, kThrottledWaitMax));
  ++waiting_;
  opened_.wait_until(lock, turn, [this] { return throttle_ == 0; });
  --waiting_;
}

Result<SharedGate::Pass> SharedGate::enter(std::uint64_t bytes) {
  std::unique_lock lock(mutex_);
  await_turn(lock, bytes);
  WriteGate::Verdict verdict = gate_.admit();
  while (verdict == WriteGate::Verdict::kWait) {
    ++waiting_;
    opened_.wait(lock);
    --waiting_;
    verdict = gate_.admit();
  }
  if (verdict != WriteGate::Verdict::kRefuse) {
    ++under_way_[round_];
    return Pass(this, verdict, round_);
  }
  return Error{.code = make_error_code(boost::system::errc::operation_not_permitted),
               .where = gate_.state() == WriteGate::State::kArmed
                            ? "this host does not own the disk yet"
                            : "another host owns the disk now"};
}

void SharedGate::finish(const Pass& pass) {
  const std::lock_guard lock(mutex_);
  gate_.finish(pass.verdict_);
  const bool last_of_round = --under_way_[pass.round_] == 0;
  if (last_of_round || gate_.untracked() == 0) finished_.notify_all();
}

void SharedGate::await_under_way() {
  std::unique_lock lock(mutex_);
  const unsigned before = std::exchange(round_, 1 - round_);
  finished_.wait(lock, [&] { return under_way_[before] == 0; });
}

void SharedGate::start_tracking() {
  std::unique_lock lock(mutex_);
  gate_.start_tracking();
  finished_.wait(lock, [this] { return gate_.untracked() == 0; });
}

void SharedGate::stop_tracking() {
  const std::lock_guard lock(mutex_);
  gate_.stop_tracking();
}

std::uint64_t SharedGate::hold() {
  const std::lock_guard lock(mutex_);
  return gate_.hold();
}

bool SharedGate::wait_idle(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  VHDXM_CHECK(gate_.state() == WriteGate::State::kHeld);
  return finished_.wait_until(lock, deadline, [this] { return gate_.in_flight() == 0; });
}

void SharedGate::let_go() {
  const std::lock_guard lock(mutex_);
  gate_.let_go();
  opened_.notify_all();
}

bool SharedGate::fence(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  if (!gate_.fence(number)) return false;
  opened_.notify_all();
  return true;
}

Result<bool> SharedGate::fence_after(std::uint64_t number,
                                     const std::function<Result<void>()>& commit) {
  const std::lock_guard lock(mutex_);
  if (!gate_.still_held(number)) return false;
  VHDXM_TRY_VOID(commit());
  VHDXM_CHECK(gate_.fence(number));
  opened_.notify_all();
  return true;
}

void SharedGate::throttle(std::uint64_t bytes_per_second) {
  const std::lock_guard lock(mutex_);
  throttle_ = bytes_per_second;
  opened_.notify_all();
}

std::uint64_t SharedGate::throttled_to() const {
  const std::lock_guard lock(mutex_);
  return throttle_;
}

void SharedGate::take_over() {
  const std::lock_guard lock(mutex_);
  gate_.take_over();
}

WriteGate::State SharedGate::state() const {
  const std::lock_guard lock(mutex_);
  return gate_.state();
}

std::uint64_t SharedGate::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_;
}

}  // namespace vhdxm::transfer
