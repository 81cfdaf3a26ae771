// The destination's side of the hand-over, sans I/O. See migration/handover_source.h for the order.
//
//   start(): Begin. < Prepare: Seal, Write (kPrepared), > Prepared. < Released: Take, TakeOver,
//   > Owned, Settle, Finish. < Void: Write (kReceiving), > Voided.
//
// It never promotes itself: only a release whose every field is that of its durable record does,
// or a person's force_owner().
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
class HandoverTarget {
 public:
  // Actions, as of HandoverSource.
  struct Begin {  ///< OwnershipStore::begin_target(). Answer: on_begun().
    JobRecord record;
  };
  struct Send {
    HandoverMessage message;
  };
  /// Nothing may be under way to the disks any more, of any stream. Makes them durable, format and
  /// all. Answer: on_sealed(), with the ledgers of what was applied.
  struct Seal {};
  struct Write {  ///< OwnershipStore::put(). Answer: on_written().
    JobRecord record;
  };
  struct Take {  ///< OwnershipArbiter::acquire(). Answer: on_taken().
    JobRecord record;
  };
  struct TakeOver {};  ///< The gate lets writes through (SharedGate::take_over()).
  /// OwnershipStore: settle(), drop() where it is kOwned. May wait until the guest runs.
  struct Settle {
    JobRecord record;
  };
  struct Finish {
    HandoverEnd end;
  };
  using Action = std::variant<Begin, Send, Seal, Write, Take, TakeOver, Settle, Finish>;

  /// `record`: kReceiving for a new job. After a start, each that OwnershipStore::recover()
  /// returned as kPrepared; what it returned as kReceiving is a partial, which a new job may go on
  /// with.
  explicit HandoverTarget(JobRecord record);

  std::optional<Action> next_action();

  // Events.
  void start();
  void on_begun(const Result<void>& result);
  void on_connected();
  void on_disconnected();
  void on_message(const HandoverMessage& message);
  void on_sealed(const Result<std::vector<Hash128>>& ledgers);
  void on_written(const Result<void>& result);
  void on_taken(const Result<void>& result);
  /// Time has passed: while it is prepared, it asks the source.
  void on_timer();
  /// resolve --force-owner-here --peer-destroyed: a person says that the source is gone for good.
  /// Epoch e + 2. Errors: Errc::kState unless it is prepared. To be logged by the caller, with
  /// kForceWarning.
  Result<void> force_owner();
  /// Errors: Errc::kUnconfirmed while it is prepared, or after: then only the source, or a person,
  /// ends the job.
  Result<void> cancel(HandoverEnd::Kind end);

  /// What streams bring may be written: not while it is, or is becoming, prepared or owner.
  bool may_write_data() const { return state_ == State::kReceiving; }
  bool owns() const { return record_.state == JobState::kOwned; }
  /// A record could not be written for certain: only the next start of this host
  /// (OwnershipStore::recover()) can go on.
  bool broken() const { return state_ == State::kBroken; }
  /// What Take will ask to write, if the source releases what was prepared; nothing: nothing is.
  std::optional<JobRecord> foreseen() const;
  std::string owner_sentence() const;
  const JobRecord& record() const { return record_; }
  bool over() const { return state_ == State::kOver; }

 private:
  enum class State : std::uint8_t {
    kNew,
    kBeginning,
    kReceiving,
    kSealing,
    kWritingPrepared,
    kPrepared,
    kVoiding,  ///< kReceiving is being written.
    kTaking,
    kOwned,
    /// A record could not be written: what stands there is not known until the next start.
    kBroken,
    kOver,
  };

  void handle(const Prepare& message);
  void handle(const Void& message);
  void handle(const Released& message);
  void handle(const Query& message);
  void handle(const Answer& message);
  template <class Other>
  void handle(const Other&) {}
  void send(HandoverMessage message) { actions_.push_back(Send{std::move(message)}); }
  void refuse(const Prepare& message, std::string reason);
  bool fits(const HandoverTerms& terms) const;
  void begin_void(const AttemptId& attempt);
  JobRecord owned(bool forced) const;
  void take(bool forced);
  void send_owned();
  void finish(HandoverEnd::Kind kind);

  JobRecord record_;  ///< As it is durable; while one is written, as it was before.
  JobRecord next_;    ///< What is being written.
  State state_ = State::kNew;
  bool connected_ = false;
  std::uint64_t dead_ = 0;      ///< Attempts of this connection up to this number are dead.
  std::uint64_t prepared_ = 0;  ///< The number of record_'s attempt; 0: of an earlier connection.
  std::optional<Prepare> prepare_;   ///< What is being sealed or written.
  std::optional<AttemptId> voided_;  ///< To be told when this side is receiving again.
  std::deque<Action> actions_;
};

}  // namespace vhdxm::migration
