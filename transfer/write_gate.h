// Whether writes of a group of disks go ahead, and whether they are marked: who may write when.
//
// One gate for all disks that change hands together. Sans I/O: it counts and decides; who waits,
// and for how long, is the caller's (transfer/shared_gate.h). Reads do not come here: they are
// served in every state. A write is anything that changes content: writes, zeroings, trims.
#pragma once

#include <cstdint>

namespace vhdxm::transfer {

class WriteGate {
 public:
  enum class State : std::uint8_t {
    kOpen,      ///< Writes go ahead.
    kTracking,  ///< They go ahead, and are marked in their disk's dirty map.
    kHeld,      ///< They wait, neither acknowledged nor refused; those under way finish.
    kFenced,    ///< They are refused: another host owns the disks. For good.
    kArmed,     ///< They are refused: this host does not own the disks yet.
  };
  enum class Verdict : std::uint8_t { kServe, kServeAndMark, kWait, kRefuse };

  /// `armed`: of the host that disks come to.
  explicit WriteGate(bool armed = false) : state_(armed ? State::kArmed : State::kOpen) {}

  State state() const { return state_; }

  /// What becomes of a write that comes now. After kServe and kServeAndMark finish() must follow,
  /// when the write has ended in the image, well or not, and is marked; before it is acknowledged.
  Verdict admit();
  void finish(Verdict admitted);

  /// Writes from here on are marked. Those that were let through unmarked may still be under way:
  /// a copy may begin when untracked() is zero. Requires: kOpen.
  void start_tracking();
  /// Nobody copies any more. Requires: kTracking.
  void stop_tracking();

  /// Writes wait from here on. What comes is numbered: see fence(). Requires: kTracking.
  std::uint64_t hold();
  /// They go on, as before. Requires: kHeld.
  void let_go();
  /// Waiting and later writes are refused, if since hold() returned `number` no write was let
  /// through and none is under way; false, and nothing changes, otherwise.
  bool fence(std::uint64_t number);
  /// Whether fence(number) would succeed: what is to be durable before writes are refused may be
  /// written, if nobody can change the gate meanwhile.
  bool still_held(std::uint64_t number) const {
    return state_ == State::kHeld && number == holds_ && in_flight() == 0;
  }
  /// This host owns the disks now. Requires: kArmed.
  void take_over();

  /// Writes that were let through and have not finished.
  std::uint64_t in_flight() const { return tracked_ + untracked_; }
  /// Those among them that will not be marked.
  std::uint64_t untracked() const { return untracked_; }

 private:
  State state_;
  std::uint64_t tracked_ = 0;
  std::uint64_t untracked_ = 0;
  std::uint64_t holds_ = 0;
};

}  // namespace vhdxm::transfer
