// The source's side of the hand-over, sans I/O.
//
// Events go in, actions come out of next_action() until it is empty; then feed the next event. No
// sockets, no files, no clock. The actions are carried out in order, each before the next is asked
// for; those that say "Answer" are answered with an event.
//
//   start(): Begin. attempt(): the gate is held, everything is at the destination: > Prepare <
//   Prepared, Ready. release(): Release (the commit point), > Released, Settle < Owned, Confirm,
//   Finish.
//
// Until Release is answered, anything that goes wrong voids the attempt: LetGo, > Void, and no data
// may be sent before < Voided (may_copy()). From Release on only the destination can own.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "migration/handover_messages.h"
#include "migration/handover_text.h"
#include "migration/job_record.h"

namespace vhdxm::migration {

/// Thread safety: none; one strand.
class HandoverSource {
 public:
  // Actions.
  struct Begin {  ///< OwnershipStore::begin_source(). Answer: on_begun().
    JobRecord record;
  };
  struct Send {  ///< Dropped where there is no connection.
    HandoverMessage message;
  };
  /// The gate goes on letting writes through (SharedGate::let_go()): the attempt is dead.
  struct LetGo {};
  /// The destination is prepared. Answer: release() when the guest's memory is there (at once
  /// where there is no guest to move), or void_attempt().
  struct Ready {};
  /// SharedGate::fence_after(hold) with OwnershipArbiter::commit(record). Answer: on_released().
  struct Release {
    JobRecord record;
    std::uint64_t hold = 0;
  };
  /// OwnershipStore: settle(), and drop() where it is kReclaimed. May wait until the guest runs.
  struct Settle {
    JobRecord record;
  };
  struct Confirm {  ///< OwnershipStore: put(), settle(). Answer: on_confirmed().
    JobRecord record;
  };
  struct Withdraw {  ///< OwnershipStore::withdraw(). Answer: on_withdrawn().
    JobRecord record;
  };
  /// The destination owns in a higher epoch, by force, although nothing was released here: refuse
  /// every write from now on, whatever the gate says; then OwnershipStore: put(), settle().
  struct Yield {
    JobRecord record;
  };
  struct Take {  ///< By force. OwnershipArbiter::acquire(). Answer: on_taken().
    JobRecord record;
  };
  struct Finish {
    HandoverEnd end;
  };
  using Action = std::variant<Begin, Send, LetGo, Ready, Release, Settle, Confirm, Withdraw, Yield,
                              Take, Finish>;

  /// `record`: kActive for a new job. After a start, what OwnershipStore::recover() returned:
  /// kReleased or kConfirmed.
  explicit HandoverSource(JobRecord record);
  /// Of Recovered::doubtful_jobs: asks the destination, and then keeps, voids, confirms or yields.
  static HandoverSource in_doubt(JobRecord record);

  std::optional<Action> next_action();

  // Events.
  void start();
  void on_begun(const Result<void>& result);
  /// Each new connection. What was sent on earlier ones is not delivered any more.
  void on_connected();
  void on_disconnected();
  void on_message(const HandoverMessage& message);
  /// The gate is held as `hold`, no write is under way, all that was written is at the destination
  /// and acknowledged; `ledgers`: of the disks, in order. `id`: random, never used before.
  /// Requires: may_attempt().
  void attempt(const AttemptId& id, std::uint64_t hold, const std::vector<Hash128>& ledgers);
  /// What Release will ask to write, if the other side agrees to the attempt; nothing: it has, or
  /// there is none.
  std::optional<JobRecord> foreseen() const;
  /// The guest may go: see Ready. Ignored if the attempt is void by now.
  void release();
  /// A deadline passed, a write must be let through, the guest goes on, somebody cancels the
  /// attempt. Ignored from Release on: see committed().
  void void_attempt();
  enum class ReleaseResult : std::uint8_t {
    kDone,
    kNotHeld,    ///< A write was let through: nothing was committed.
    kUncertain,  ///< The commit failed: it may stand or not. The gate stays held.
  };
  void on_released(ReleaseResult result);
  void on_confirmed(const Result<void>& result);
  void on_withdrawn(const Result<void>& result);
  void on_taken(const Result<void>& result);
  /// The job is to end without a hand-over. Ignored from Release on. `end`: how it is told.
  void cancel(HandoverEnd::Kind end);
  /// Time has passed without an answer: says again what was said.
  void on_timer();
  /// resolve --force-owner-here --peer-destroyed: a person says that the destination is gone for
  /// good. Epoch e + 2, with the copy that was released. Errors: Errc::kState unless it is released
  /// and unconfirmed, or in doubt. To be logged by the caller, with kForceWarning.
  Result<void> force_owner();

  /// A new attempt may begin: connected, begun, and no attempt is under way or being voided.
  bool may_attempt() const { return state_ == State::kIdle && connected_; }
  /// Data may be sent: not while the destination may be prepared.
  bool may_copy() const { return state_ == State::kIdle && connected_; }
  /// Nothing can take the release back.
  bool committed() const;
  /// The commit failed: the gate stays held, nothing is sent, and only the next start of this host
  /// (OwnershipStore::recover()) can say whether it still owns the disks.
  bool uncertain() const { return state_ == State::kUncertain; }
  /// One sentence: who owns the disks now, as far as this side knows.
  std::string owner_sentence() const;
  const JobRecord& record() const { return record_; }
  bool over() const { return state_ == State::kOver; }

 private:
  enum class State : std::uint8_t {
    kNew,
    kBeginning,
    kIdle,        ///< The job copies; the disks are this host's.
    kPreparing,   ///< Prepare was sent.
    kReady,       ///< Prepared came.
    kReleasing,   ///< Release is under way.
    kVoiding,     ///< The gate is open; Voided is awaited.
    kUncertain,   ///< The commit failed.
    kInDoubt,     ///< The destination is asked.
    kReleased,    ///< Owned is awaited.
    kConfirming,  ///< Confirm is under way.
    kWithdrawing,
    kTaking,
    kOver,
  };

  void handle(const Prepared& message);
  void handle(const PrepareRefused& message);
  void handle(const Voided& message);
  void handle(const Owned& message);
  void handle(const Query& message);
  void handle(const Answer& message);
  template <class Other>
  void handle(const Other&) {}  // What only a source sends: somebody is confused, nothing changes.
  void send(HandoverMessage message) { actions_.push_back(Send{std::move(message)}); }
  void say_again();
  void say_void();
  void ask();
  /// Of this side, as it stands in its record.
  Answer own_answer() const;
  bool is_taken(const std::vector<OwnedDisk>& disks) const;
  void resolve_doubt(const Answer& theirs);
  void confirm();
  void yield();
  void withdraw(HandoverEnd::Kind end);
  void finish(HandoverEnd::Kind kind);

  JobRecord record_;
  State state_ = State::kNew;
  bool connected_ = false;
  /// Of the attempt under way, or the one that is to be voided, or the last one.
  std::uint64_t number_ = 0;  ///< In this connection.
  AttemptId attempt_;
  std::uint64_t hold_ = 0;
  JobRecord next_;  ///< What is being written; of an attempt, what its release would say.
  HandoverEnd::Kind end_ = HandoverEnd::Kind::kFailed;
  bool ending_ = false;  ///< cancel() came before the job had begun.
  std::deque<Action> actions_;
};

}  // namespace vhdxm::migration
