// The sender's side of the control conversation, sans I/O.
//
// Events go in by the on_...() members, actions come out of next_action() until it is empty; then
// feed the next event. No sockets, no files, no clock: a test can play any script against it.
//
//   Hello/Welcome, offer, then for each disk, parents first:
//     compare:  ComputeDigest > CompareDigest < CompareSame
//     send:     PreparePlan > PlanPart.. BeginDisk < DiskReady (streams are opened with the first)
//               (< HeldRanges before DiskReady: then < CellHashes and > HashCredit while copying)
//               CopyDisk, frames and Written, > EndDisk < DiskSealed
//               [ComputeDigest > VerifyDisk < VerifySame]  CheckSource > CommitDisk < DiskCommitted
//   EndJob/JobDone.
//
// A live job's disks are not committed one by one: after the last DiskSealed come passes, of which
// whoever runs the job decides how many, and then the hand-over's own messages:
//     StartPasses, frames and Written, on_pass_copied() > EndPass < PassSynced, PassDone, again ...
//     [> VerifyRange < RangeDiffers, again and again, between passes]
//     > Handover < Handover ..., on_handed_over() > EndJob < JobDone.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "transfer/errc.h"
#include "transfer/held_ranges.h"
#include "transfer/ledger.h"
#include "transfer/messages.h"
#include "transfer/stall_watch.h"

namespace vhdxm::transfer {

/// Thread safety: none; one strand.
class SenderSession {
 public:
  struct Config {
    Preamble preamble;
    std::uint64_t features = 0;
    std::uint32_t extent_bytes_max = 0;
    std::uint16_t streams_wanted = 1;
    std::uint64_t nonce = 0;
    std::string software;
    bool verify = false;
    JobKind kind = JobKind::kCopy;         ///< kLive: without verify.
    std::vector<std::byte> handover = {};  ///< kLive: OfferEnd::handover.
    /// Parents first; opaque items may stand in the descriptions, they are sent one by one.
    std::vector<OfferDisk> disks;
    /// Broken streams that are replaced before the job gives up.
    unsigned replacements_max = 16;
  };

  // Actions.
  struct Send {
    Message message;
  };
  struct ComputeDigest {  ///< Answer: on_digest().
    std::uint32_t disk = 0;
    bool verify = false;
  };
  struct PreparePlan {  ///< Answer: on_plan().
    std::uint32_t disk = 0;
  };
  struct OpenStreams {  ///< Answers: on_stream_lost() for each that fails, now or later.
    std::vector<StreamGrant> grants;
  };
  struct CopyDisk {  ///< Answer: on_copied(), when everything sent is acknowledged as written.
    std::uint32_t disk = 0;
    SharedRanges held;  ///< In order, apart, inside the disk; whole cells.
    PartialState partial = PartialState::kNone;
    std::uint64_t resumed_bytes = 0;
  };
  struct TakeHashes {  ///< Of the next cells of CopyDisk's ranges. Answer: on_hashes_used().
    std::uint64_t first_cell = 0;
    std::vector<Hash128> hashes;
  };
  struct Acknowledge {
    std::vector<WrittenCount> streams;
    std::uint64_t credit_bytes = 0;
  };
  struct NoteLoad {
    Load load;
  };
  struct NoteDurable {
    std::uint64_t raw_bytes = 0;
  };
  struct RequeueStream {  ///< The receiver applied `frames` of it; the rest goes over others.
    std::uint32_t stream = 0;
    std::uint64_t frames = 0;
  };
  struct CheckSource {  ///< Answer: on_source_unchanged(), or on_error().
    std::uint32_t disk = 0;
  };
  struct DiskDone {
    std::uint32_t disk = 0;
    bool identical = false;
  };
  struct Introduced {  ///< Live jobs: OfferReply::handover. Before anything is copied.
    std::vector<std::byte> body;
  };
  struct StartPasses {};  ///< Live jobs: the first pass is done of every disk.
  struct PassDone {       ///< It is durable at the destination. Another may begin.
    std::uint32_t pass = 0;
    std::uint64_t sync_us = 0;
  };
  struct RangeCompared {  ///< What verify_range() asked, in its order.
    std::uint32_t disk = 0;
    std::uint64_t offset = 0;
    std::vector<std::uint32_t> differing;  ///< Pages of the range, from 0 on; in order.
  };
  struct DeliverHandover {
    std::vector<std::byte> body;
  };
  struct Finish {};
  struct Abort {  ///< The peer has been told, if the error is ours.
    Error error;
    std::string peer_text;  ///< What the peer said; empty if the error is ours.
  };
  using Action =
      std::variant<Send, ComputeDigest, PreparePlan, OpenStreams, CopyDisk, TakeHashes, Acknowledge,
                   NoteLoad, NoteDurable, RequeueStream, CheckSource, DiskDone, Introduced,
                   StartPasses, PassDone, RangeCompared, DeliverHandover, Finish, Abort>;

  explicit SenderSession(Config config);

  std::optional<Action> next_action();

  // Events.
  void start();
  void on_message(const Message& message);
  void on_digest(std::uint32_t disk, const Hash128& digest);
  void on_plan(std::uint32_t disk, std::span<const std::byte> encoded);
  void on_hashes_used(std::uint32_t disk, std::uint32_t cells);
  void on_copied(std::uint32_t disk, const Ledger& ledger);
  void on_source_unchanged(std::uint32_t disk);
  /// Live jobs, after StartPasses: everything of the pass is acknowledged as written.
  /// Requires: the pass before it is done.
  void on_pass_copied(std::uint32_t pass, std::vector<PassLedger> ledgers);
  /// Live jobs, between passes: asks whether the destination reads the same. Requires: less than
  /// kVerifyRangesMax of these are unanswered. Answer: RangeCompared.
  void verify_range(VerifyRange range);
  /// How many of these are unanswered.
  std::size_t verifying() const { return asked_.size(); }
  /// Live jobs: for the other side's hand-over. Between passes, or after the last.
  void send_handover(std::vector<std::byte> body);
  /// Live jobs: the destination owns the disks, and said so.
  void on_handed_over();
  /// A stream broke or could not be joined. `open_streams`: how many are still up.
  void on_stream_lost(std::uint32_t stream);
  /// The person or program that runs the job wants it to end.
  void on_cancel();
  /// Something failed on this side.
  void on_error(const Error& error, const std::string& text);

  /// What holds for the job, after Welcome.
  const Welcome& welcome() const { return welcome_; }
  std::uint64_t hash_seed() const { return config_.nonce + welcome_.nonce; }
  bool over() const { return state_ == State::kOver; }
  /// What the receiver has to say next; nothing while this side has to go on. While frames may go
  /// only the queue knows which of the two it is.
  Awaited awaited() const;
  /// Frames may go: of a disk, or of a pass.
  bool copying() const { return state_ == State::kCopying || state_ == State::kPasses; }
  unsigned streams_replaced() const { return replacements_; }

 private:
  enum class State : std::uint8_t {
    kStart,
    kWelcome,
    kOfferReply,
    kCompareDigest,
    kCompareSame,
    kPlan,
    kDiskReady,
    kTokens,
    kCopying,
    kSealed,
    kVerifyDigest,
    kVerifySame,
    kSourceCheck,
    kCommitted,
    kPasses,      ///< Live: frames of a pass go, or nothing does.
    kPassSynced,  ///< Live: EndPass was sent.
    kJobDone,
    kOver,
  };

  void send(Message message) { actions_.push_back(Send{std::move(message)}); }
  void send_offer();
  void next_disk();
  void start_copy();
  void handle(const Welcome& message);
  void handle(const OfferReply& message);
  void handle(const CompareSame& message);
  void handle(const HeldRanges& message);
  void handle(const DiskReady& message);
  void handle(const CellHashes& message);
  void handle(const StreamTokens& message);
  void handle(const Written& message);
  void handle(const Load& message);
  void handle(const Durable& message);
  void handle(const StreamDrained& message);
  void handle(const DiskSealed& message);
  void handle(const VerifySame& message);
  void handle(const DiskCommitted& message);
  void handle(const PassSynced& message);
  void handle(const RangeDiffers& message);
  void handle(const Handover& message);
  void handle(const JobDone& message);
  void handle(const Fail& message);
  void handle(const Cancel& message);
  void handle(const Heartbeat&) {}
  template <class Other>
  void handle(const Other&) {
    unexpected("a message that only a sender sends");
  }
  bool expect(State state, std::uint32_t disk, const char* what);
  void unexpected(const char* what);
  void check_source();
  void finish_disk(bool identical);

  Config config_;
  State state_ = State::kStart;
  Welcome welcome_;
  std::vector<OfferAction> offer_actions_;
  std::uint32_t disk_ = 0;
  HeldRangeList held_;             ///< Of disk_.
  CopyDisk copy_;                  ///< What DiskReady said.
  std::uint64_t hash_credit_ = 0;  ///< Hashes that may come.
  bool streams_opened_ = false;
  unsigned tokens_awaited_ = 0;
  unsigned replacements_ = 0;
  std::uint32_t streams_granted_ = 0;
  std::vector<std::uint32_t> lost_;  ///< Streams whose StreamDrained has not come.
  Hash128 ledger_;
  std::uint32_t pass_ = 1;  ///< Live: the last that was begun.
  /// Live: what was sent, in bytes of the disks, by the end of the last disk or pass. The receiver
  /// syncs at each of these, so what one brings is all that the next has to.
  std::uint64_t durable_bytes_ = 0;
  std::uint64_t pass_bytes_ = 0;  ///< Live: of the last pass.
  struct AskedRange {
    std::uint32_t disk = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  std::deque<AskedRange> asked_;  ///< Live: VerifyRanges that are unanswered.
  std::deque<Action> actions_;
};

}  // namespace vhdxm::transfer
