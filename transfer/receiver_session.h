// The receiver's side of the control conversation, sans I/O. See sender_session.h for the order.
//
// Nothing a sender says is believed before it was checked against the limits of the protocol, and
// no action is asked for before Hello fits the preamble.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "transfer/errc.h"
#include "transfer/held_ranges.h"
#include "transfer/messages.h"
#include "transfer/stall_watch.h"
#include "vhdx/block_plan.h"

namespace vhdxm::transfer {

/// All opaque metadata items of a job together. Bytes.
inline constexpr std::size_t kOpaqueBytesMax = 8 * 1024 * 1024;
/// Cells that are hashed in one go: long enough to be worth the way to a worker and back, short
/// enough that other work gets its turn. 64 MiB of a disk.
inline constexpr std::uint32_t kHashStepCells = 256;

/// Thread safety: none; one strand.
class ReceiverSession {
 public:
  struct Config {
    Preamble preamble;           ///< As the connection began.
    std::uint64_t features = 0;  ///< What this side lets a sender have.
    std::uint32_t extent_bytes_max = 0;
    std::uint16_t streams_max = 1;
    std::uint64_t credit_bytes = 0;
    std::uint64_t nonce = 0;
    std::string software;
    /// Streams ever granted to a job: the first ones and replacements.
    std::uint32_t grants_max = 256;
  };

  // Actions.
  struct Send {
    Message message;
  };
  struct CheckOffer {  ///< Answer: on_offer_checked(), or on_error(). Descriptions are valid.
    std::vector<OfferDisk> disks;
    std::vector<std::byte> handover;  ///< OfferEnd::handover.
  };
  struct CompareWith {  ///< Answer: on_compared().
    std::uint32_t disk = 0;
    Hash128 digest;
  };
  struct StartDisk {  ///< Answer: on_disk_started(), or on_error().
    std::uint32_t disk = 0;
    vhdx::BlockPlan plan;
  };
  struct HashCells {  ///< The next held cells, at most so many. Answer: on_cells_hashed().
    std::uint32_t disk = 0;
    std::uint32_t cells_max = 0;
  };
  struct GrantStreams {  ///< Answer: on_granted().
    std::uint32_t first_stream = 0;
    std::uint16_t count = 0;
  };
  struct DrainStream {  ///< Answer: on_drained().
    std::uint32_t stream = 0;
  };
  struct SealDisk {  ///< Answer: on_sealed(), or on_error().
    EndDisk end;
  };
  struct VerifyWith {  ///< Answer: on_verified(), or on_error().
    std::uint32_t disk = 0;
    Hash128 digest;
  };
  struct Commit {  ///< Answer: on_committed(), or on_error().
    std::uint32_t disk = 0;
  };
  struct SyncPass {  ///< Answer: on_pass_synced(), or on_error().
    EndPass end;
  };
  struct ComparePages {  ///< Answer, in the order of these: on_pages_compared(), or on_error().
    VerifyRange range;   ///< Inside the disk.
  };
  struct DeliverHandover {
    std::vector<std::byte> body;
  };
  struct PrepareMeasure {};  ///< Answer: on_measure_ready().
  struct Finish {};
  struct Abort {
    Error error;
    std::string peer_text;  ///< What the peer said; empty if the error is ours.
  };
  using Action = std::variant<Send, PrepareMeasure, CheckOffer, CompareWith, StartDisk, HashCells,
                              GrantStreams, DrainStream, SealDisk, VerifyWith, Commit, SyncPass,
                              ComparePages, DeliverHandover, Finish, Abort>;

  explicit ReceiverSession(Config config);

  std::optional<Action> next_action();

  // Events.
  void on_message(const Message& message);
  /// `handover`: OfferReply::handover.
  void on_offer_checked(const std::vector<OfferAction>& actions,
                        std::vector<std::byte> handover = {});
  void on_compared(std::uint32_t disk);
  /// What a disk begins with.
  struct StartedDisk {
    SharedRanges held;  ///< As HeldRanges says.
    PartialState partial = PartialState::kNone;
    std::uint64_t resumed_bytes = 0;
  };
  void on_disk_started(std::uint32_t disk, const StartedDisk& started);
  /// `hashes`: of at least one cell, side by side.
  void on_cells_hashed(std::uint32_t disk, std::uint64_t first_cell, std::vector<Hash128> hashes);
  void on_measure_ready(const MeasureReady& ready);
  void on_granted(const std::vector<StreamGrant>& grants);
  void on_load(const Load& load);
  void on_written(const std::vector<WrittenCount>& streams, std::uint64_t credit_bytes);
  void on_durable(std::uint32_t disk, std::uint64_t raw_bytes);
  void on_drained(std::uint32_t stream, std::uint64_t frames);
  void on_sealed(std::uint32_t disk, const Hash128& ledger);
  void on_verified(std::uint32_t disk);
  void on_committed(std::uint32_t disk);
  /// Live jobs: the ledgers agree, and everything is durable.
  void on_pass_synced(std::uint32_t pass, std::uint64_t sync_us);
  void on_pages_compared(std::uint32_t disk, std::uint64_t offset,
                         std::vector<std::uint32_t> differing);
  /// Live jobs, after the first pass: for the other side's hand-over.
  void send_handover(std::vector<std::byte> body);
  /// Live jobs: this host owns the disks, and they have their names. The sender may end the job.
  void on_handed_over();
  void on_cancel();
  void on_error(const Error& error, const std::string& text);

  bool over() const { return state_ == State::kOver; }
  /// What the sender has to do next; nothing while this side has to answer.
  Awaited awaited() const;
  /// After Welcome was sent.
  const Welcome& welcome() const { return welcome_; }
  std::uint64_t hash_seed() const { return sender_nonce_ + config_.nonce; }
  const std::string& peer_software() const { return peer_software_; }
  /// After the offer.
  JobKind kind() const { return kind_; }
  /// Nothing is to be kept of what comes.
  bool measuring() const { return measuring_; }
  /// Disks that have been committed or found identical.
  std::uint32_t disks_done() const { return disk_; }

 private:
  enum class State : std::uint8_t {
    kHello,
    kOffer,
    kOfferCheck,
    kDisk,     ///< The sender says what comes: CompareDigest, PlanPart, BeginDisk or EndJob.
    kBusy,     ///< An action is under way that the sender must wait for.
    kCopying,  ///< Frames come; the next step is EndDisk.
    kSealed,   ///< VerifyDisk or CommitDisk.
    kVerified,
    kPasses,     ///< Live, after the first pass: frames, EndPass, Handover.
    kSyncing,    ///< Live: a pass is made durable.
    kMeasuring,  ///< Frames come and are dropped; the next step is EndJob.
    kOver,
  };

  void send(Message message) { actions_.push_back(Send{std::move(message)}); }
  void handle(const Hello& message);
  void handle(const OfferDisk& message);
  void handle(const OfferItem& message);
  void handle(const OfferEnd& message);
  void handle(const CompareDigest& message);
  void handle(const PlanPart& message);
  void handle(const BeginDisk& message);
  void handle(const HashCredit& message);
  void handle(const Measure& message);
  void handle(const StreamRequest& message);
  void handle(const StreamLost& message);
  void handle(const EndDisk& message);
  void handle(const VerifyDisk& message);
  void handle(const CommitDisk& message);
  void handle(const EndPass& message);
  void handle(const VerifyRange& message);
  void handle(const Handover& message);
  void handle(const EndJob& message);
  void handle(const Fail& message);
  void handle(const Cancel& message);
  void handle(const Heartbeat&) {}
  template <class Other>
  void handle(const Other&) {
    unexpected("a message that only a receiver sends");
  }
  void hash_next();
  std::uint64_t whole_disk() const;
  bool expect(State state, std::uint32_t disk, const char* what);
  void unexpected(const char* what);
  bool action_is(OfferAction action) const;

  Config config_;
  State state_ = State::kHello;
  Welcome welcome_;
  std::uint64_t sender_nonce_ = 0;
  std::string peer_software_;
  std::vector<OfferDisk> disks_;
  std::size_t opaque_bytes_ = 0;
  std::vector<OfferAction> offer_actions_;
  std::uint32_t disk_ = 0;
  std::optional<vhdx::BlockPlan> plan_;
  std::uint64_t plan_bytes_ = 0;
  bool measuring_ = false;
  JobKind kind_ = JobKind::kCopy;
  std::uint32_t pass_ = 1;     ///< Live: the last that is done, or being synced.
  std::size_t comparing_ = 0;  ///< Live: VerifyRanges that are not answered.
  bool handing_over_ = false;  ///< Live: a Handover has come.
  bool handed_over_ = false;
  std::uint32_t granted_ = 0;
  unsigned live_streams_ = 0;
  std::vector<std::uint32_t> draining_;
  HeldRangeList held_;             ///< Of disk_.
  std::uint32_t hash_credit_ = 0;  ///< Hashes that the sender still takes.
  bool hashing_ = false;
  std::deque<Action> actions_;
};

}  // namespace vhdxm::transfer
