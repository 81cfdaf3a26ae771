#include "transfer/write_gate.h"

#include "base/check.h"

namespace vhdxm::transfer {

WriteGate::Verdict WriteGate::admit() {
  switch (state_) {
    case State::kOpen:
      ++untracked_;
      return Verdict::kServe;
    case State::kTracking:
      ++tracked_;
      return Verdict::kServeAndMark;
    case State::kHeld:
      return Verdict::kWait;
    case State::kFenced:
    case State::kArmed:
      break;
  }
  return Verdict::kRefuse;
}

void WriteGate::finish(Verdict admitted) {
  std::uint64_t& count = admitted == Verdict::kServeAndMark ? tracked_ : untracked_;
  VHDXM_CHECK(admitted == Verdict::kServe || admitted == Verdict::kServeAndMark);
  VHDXM_CHECK(count > 0);
  --count;
}

void WriteGate::start_tracking() {
  VHDXM_CHECK(state_ == State::kOpen);
  state_ = State::kTracking;
}

void WriteGate::stop_tracking() {
  VHDXM_CHECK(state_ == State::kTracking);
  state_ = State::kOpen;
}

std::uint64_t WriteGate::hold() {
  VHDXM_CHECK(state_ == State::kTracking);
  state_ = State::kHeld;
  return ++holds_;
}

void WriteGate::let_go() {
  VHDXM_CHECK(state_ == State::kHeld);
  state_ = State::kTracking;
}

// A hold that was let go and taken again has another number, so an agreement about what the disk
// held in the first cannot release it in the second.
bool WriteGate::fence(std::uint64_t number) {
  if (!still_held(number)) return false;
  state_ = State::kFenced;
  return true;
}

void WriteGate::take_over() {
  VHDXM_CHECK(state_ == State::kArmed);
  state_ = State::kOpen;
}

}  // namespace vhdxm::transfer
