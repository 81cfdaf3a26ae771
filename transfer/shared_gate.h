// A WriteGate that threads meet at: who must wait, waits here.
//
// Cost of a write: two short locks.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

#include "base/result.h"
#include "transfer/write_gate.h"

namespace vhdxm::transfer {

/// Thread safety: all members may be called from any thread; those that change the state, one at a
/// time.
class SharedGate {
 public:
  explicit SharedGate(bool armed = false) : gate_(armed) {}
  /// Requires: no write is under way or waits.
  ~SharedGate();
  SharedGate(const SharedGate&) = delete;
  SharedGate& operator=(const SharedGate&) = delete;

  /// A write that was let through; while it lives, it counts as under way.
  class Pass {
   public:
    Pass(Pass&& other) noexcept
        : gate_(other.gate_), verdict_(other.verdict_), round_(other.round_) {
      other.gate_ = nullptr;
    }
    Pass& operator=(Pass&&) = delete;
    ~Pass();
    /// Whether what it changes has to be marked before it ends.
    bool marks() const { return verdict_ == WriteGate::Verdict::kServeAndMark; }

   private:
    friend class SharedGate;
    Pass(SharedGate* gate, WriteGate::Verdict verdict, unsigned round)
        : gate_(gate), verdict_(verdict), round_(round) {}
    SharedGate* gate_;
    WriteGate::Verdict verdict_;
    unsigned round_;
  };

  /// Lets a write of so many bytes through, after waiting as long as the gate is held, or for its
  /// turn while writes are slowed down. Errors: EPERM while it is fenced or armed.
  Result<Pass> enter(std::uint64_t bytes = 0);

  /// As WriteGate's; returns when no unmarked write is under way.
  void start_tracking();
  void stop_tracking();
  /// As WriteGate's. Nothing is waited for: see wait_idle().
  std::uint64_t hold();
  /// Waits until no write is under way; false if `deadline` comes first. Requires: held.
  bool wait_idle(std::chrono::steady_clock::time_point deadline);
  /// Waits until every write that was let through before the call has finished, and so is marked if
  /// it had to be; later ones are not waited for. Requires: no other thread is in this call.
  void await_under_way();
  void let_go();
  bool fence(std::uint64_t number);
  /// As fence(), with something in between: `commit` runs under the gate's lock, only if fencing
  /// will succeed, and only if it succeeds the gate is fenced. It may block; writes wait meanwhile.
  /// False: a write was let through since hold() returned `number`; `commit` did not run. An error
  /// is that of `commit`: the gate stays held.
  Result<bool> fence_after(std::uint64_t number, const std::function<Result<void>()>& commit);
  void take_over();

  /// Slows tracked writes down to so many bytes a second, all together; 0: not. A write waits at
  /// most kThrottledWaitMax for it, so guests see slow disks, never dead ones.
  void throttle(std::uint64_t bytes_per_second);
  std::uint64_t throttled_to() const;
  static constexpr std::chrono::milliseconds kThrottledWaitMax{500};

  WriteGate::State state() const;
  /// Writes that wait.
  std::uint64_t waiting() const;

 private:
  void finish(const Pass& pass);
  void await_turn(std::unique_lock<std::mutex>& lock, std::uint64_t bytes);

  mutable std::mutex mutex_;
  std::condition_variable opened_;    ///< Not held any more.
  std::condition_variable finished_;  ///< A write that somebody may wait for has finished.
  // Protected by mutex_.
  WriteGate gate_;
  std::uint64_t waiting_ = 0;
  /// Writes under way, by the round in which they came; await_under_way() begins a new one.
  std::array<std::uint64_t, 2> under_way_{};
  unsigned round_ = 0;
  std::uint64_t throttle_ = 0;  ///< Bytes a second.
  std::chrono::steady_clock::time_point next_turn_{};
};

}  // namespace vhdxm::transfer
