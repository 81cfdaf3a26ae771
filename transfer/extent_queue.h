// What is left to send of a disk, pulled by the streams; and what is under way on each of them.
//
// Streams pull from one queue, so a slow one slows nobody. An extent is owed until the receiver
// says that it is written: what a broken stream did not get across goes back into the queue, to be
// read again and sent by any other. Credit, in bytes of payload, bounds what is under way.
//
// What the receiver may hold already (docs/protocol.md, "Reconcile") is left out at first. Its
// cells come when their hashes have come, as work of kind kSame; streams take such work and other
// in turns, so that neither the network nor the disk waits for the other.
//
// Of disks in use come passes after that: ranges that were written since, taken from the disks'
// dirty maps just before they are read. What a broken stream did not get across is dirty again, and
// comes with the next pass: so what is sent again is always newer, never older, than what is there.
//
// While writes are mirrored (transfer/mirrored_writes.h), a pass also carries what guests write, as
// it is written, and a range may come in it more than once. Then a page that is on its way is not
// taken again before it is known to be written: neither may overtake the other.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "transfer/busy_ranges.h"
#include "transfer/dirty_map.h"
#include "transfer/errc.h"
#include "transfer/frame.h"
#include "transfer/held_ranges.h"
#include "transfer/ledger.h"
#include "transfer/messages.h"
#include "transfer/mirrored_writes.h"
#include "vhdx/disk_view.h"
#include "vhdx/extent.h"

namespace vhdxm::transfer {

struct HeldCells;

/// A piece of a disk for one stream to send.
struct WorkItem {
  FrameKind kind = FrameKind::kData;
  std::uint64_t virtual_offset = 0;
  std::uint64_t length = 0;       ///< Bytes; at most the extent size if kData or kSame.
  File* file = nullptr;           ///< kData: where to read it.
  std::uint64_t file_offset = 0;  ///< kData.
  /// kSame: cells to be compared, and sent if they differ. Whole cells of it.
  std::shared_ptr<const HeldCells> held = {};
  std::uint64_t mirrored = 0;  ///< The number of the write that waits for it; 0: none.

  /// What it can come to on the wire, and what has to be read for it at most. Bytes.
  std::uint64_t payload_bytes() const {
    return kind == FrameKind::kData || kind == FrameKind::kSame ? length : 0;
  }
};

/// Cells that stand side by side, of which the receiver said what it holds.
struct HeldCells {
  std::uint64_t virtual_offset = 0;  ///< Bytes, a multiple of kCellBytes.
  std::vector<WorkItem> parts;       ///< What the source has there: in order, without gaps.
  std::vector<Hash128> hashes;       ///< One for each cell.
};

/// Thread safety: all members may be called from any thread.
class ExtentQueue {
 public:
  /// Work for one stream to do next; the payload of all items together fits one extent.
  struct Batch {
    std::vector<WorkItem> items;
    std::uint64_t payload_bytes = 0;
    std::uint32_t disk = 0;
    std::uint32_t pass = 0;
    std::uint32_t sector_bytes = 0;  ///< Of the disk.
    std::uint64_t credit_used = 0;
    bool mirrored = false;  ///< Its items are.
  };
  enum class Pull : std::uint8_t {
    kBatch,
    kIdle,     ///< Nothing within the time given: no work or no credit. Ask again.
    kStopped,  ///< The job is over.
  };

  /// A disk in use, of which passes are made. Both live longer than the queue.
  struct LiveSource {
    vhdx::DiskView* view = nullptr;
    DirtyMap* dirty = nullptr;
  };

  /// `on_disk_sent`: called, from the thread that acknowledges, when all of a disk is written.
  /// `on_hashes_used`: called, from any thread, under the queue's lock: may only pass it on.
  ExtentQueue(std::uint32_t extent_bytes, std::uint64_t credit_bytes, std::uint64_t hash_seed,
              std::function<void(std::uint32_t disk, const Ledger&)> on_disk_sent,
              std::function<void(std::uint32_t disk, std::uint32_t cells)> on_hashes_used);

  std::uint64_t hash_seed() const { return hash_seed_; }

  /// Makes `view` the disk that streams pull from. `held`: whole cells, in order, apart from each
  /// other, inside the disk; add_hashes() brings each of them.
  /// `pass`: of its frames; 0 unless it is in use, and 1 then.
  /// Requires: the disk before it is sent.
  void begin_disk(std::uint32_t disk, vhdx::DiskView& view, SharedRanges held = {},
                  std::uint32_t pass = 0);
  /// Begins a pass over all disks, by their numbers: streams pull what is dirty, each disk once
  /// from its beginning to its end. `on_sent`: called, from any thread, when all that was pulled is
  /// written; the thread must not call the queue from it.
  /// Requires: what was begun before is sent.
  void begin_pass(std::uint32_t pass, std::vector<LiveSource> disks, std::function<void()> on_sent);

  /// How writes are mirrored: what the background copy leaves them, and when they are not waited
  /// for.
  struct Mirroring {
    /// Writes are not waited for any more when so long nothing of them arrived at the other side.
    std::chrono::steady_clock::duration patience{};
    /// Payload of the background copy that is under way at a time, about. Bytes.
    std::uint64_t copy_bytes_max = 0;
    /// A pass lasts at least so long, for writes that come.
    std::chrono::steady_clock::duration pass_min{};
  };
  /// From the next pass on mirror() waits, in this way; until stop_mirroring(), or stop(), or until
  /// nothing of it arrives. Requires: nothing is being sent.
  void start_mirroring(const Mirroring& how);
  /// For those that wait now, too; nothing, if none is to wait.
  void set_mirror_patience(std::chrono::steady_clock::duration patience);
  /// Those that wait are not waited for any more; what they wrote comes with the passes.
  void stop_mirroring();
  struct MirrorState {
    bool on = false;
    bool gave_up = false;          ///< Since start_mirroring(): nothing of it arrived.
    std::uint64_t bytes = 0;       ///< Of the disks, that were sent so. Whole pages.
    std::uint64_t writes = 0;      ///< That were answered when both sides had them.
    std::uint64_t left_dirty = 0;  ///< Writes that were not waited for to their end, or at all.
  };
  MirrorState mirror_state() const;
  /// As WriteMirror::mirror(), of a disk of so many bytes. Waits for kMirroredWaitMax at most, or
  /// for the patience, if that is longer; of more than kMirroredBytesMax, not at all.
  void mirror(std::uint32_t disk, std::uint64_t offset, std::uint64_t length,
              std::uint64_t disk_bytes);
  static constexpr std::chrono::seconds kMirroredWaitMax{5};
  static constexpr std::uint64_t kMirroredBytesMax = 64 * 1024 * 1024;

  /// What was acknowledged of the disk, in all passes.
  Ledger ledger(std::uint32_t disk) const;
  /// Bytes that the running pass, or the last one, took out of the dirty maps, and of that: for
  /// mirrored writes.
  struct PassBytes {
    std::uint64_t all = 0;
    std::uint64_t mirrored = 0;
  };
  PassBytes pass_bytes() const;
  /// What the receiver says of the next held cells, which stand side by side.
  /// Requires: in the order of the disk, none left out, none outside the ranges.
  void add_hashes(std::uint64_t first_cell, std::vector<Hash128> hashes);

  /// The next work, waiting at most `wait`. Errors: of reading the map.
  Result<Pull> pull(Batch& out, std::chrono::milliseconds wait);

  /// Notes what a stream is about to put on the wire of `batch`: together the frames cover it, and
  /// credit for what turned out to be zero comes back.
  /// To be called before the bytes go out, so that no acknowledgement comes earlier.
  struct Sent {
    FrameHeader header;
    WorkItem again;                ///< How to send it again.
    std::uint64_t read_bytes = 0;  ///< Of the source's data, that were read for it.
  };
  void note_sent(std::uint32_t stream, const Batch& batch, std::span<const Sent> frames);

  /// The receiver has applied `frames` frames of `stream`, from its first.
  /// Errors: Errc::kProtocol if it was never sent that many, or counts back.
  Result<void> acknowledge(std::uint32_t stream, std::uint64_t frames);
  /// The stream is gone; all after its first `frames` frames is sent again.
  struct Requeued {
    std::uint64_t wire_bytes = 0;   ///< Of payload that were on the wire for nothing.
    std::uint64_t saved_bytes = 0;  ///< That compression had saved of it.
    std::uint64_t read_bytes = 0;   ///< Of the source's data, that are read again.
    std::uint64_t zero_bytes = 0;   ///< Of those, found to be zero.
    std::uint64_t same_bytes = 0;   ///< Of those, found to be there.
  };
  Result<Requeued> requeue(std::uint32_t stream, std::uint64_t frames);
  /// A batch that could not be sent at all.
  void give_back(Batch batch);

  void add_credit(std::uint64_t bytes);
  /// What the receiver still owes an acknowledgement for, and how many frames it acknowledged.
  struct StreamState {
    std::uint64_t acknowledged = 0;  ///< Frames.
    std::uint64_t in_flight = 0;     ///< Frames.
  };
  StreamState stream_state(std::uint32_t stream) const;
  /// Frames that were acknowledged, of all streams together.
  std::uint64_t acknowledged() const;
  /// Whether there is a disk or pass to be sent, and nothing of it is being read or packed: what
  /// was handed out is under way, and the next step is the receiver's.
  bool waits_for_receiver() const;
  /// The most that was ever under way: payload that took credit, frames that await acknowledgement.
  struct HighWater {
    std::uint64_t credit_bytes = 0;
    std::uint64_t frames = 0;
    std::uint64_t queued_items = 0;  ///< That waited for a stream to pull them.
  };
  HighWater high_water() const;
  /// Ends every pull() with kStopped.
  void stop();
  bool stopped() const;

 private:
  struct Stream {
    std::uint64_t acknowledged = 0;
    std::deque<Sent> in_flight;
  };

  Result<void> refill_locked();
  Result<void> refill_pass_locked();
  Result<void> add_dirty_locked(const LiveSource& from, const DirtyRange& range);
  bool pass_is_sent_locked();
  Result<void> refill_held_locked();
  void note_hashes_used_locked(std::uint32_t cells);
  bool take_locked(Batch& out);
  Result<bool> take_next_locked(Batch& out);
  Result<bool> take_mirrored_locked(Batch& out);
  bool may_take_locked(const MirroredWrites::Part& part, const Batch& out) const;
  std::uint64_t copy_batch_bytes_locked() const;
  std::optional<std::chrono::steady_clock::time_point> closes_at_locked() const;
  bool may_close_locked();
  bool may_find_work_locked() const;
  void wake_mirrored_locked();
  void begin_mirrored_pass_locked();
  void settle_locked(const Sent& sent, bool arrived);
  void stop_mirroring_locked();
  static WorkItem work_of(const vhdx::Extent& extent);
  void take_from_locked(std::deque<WorkItem>& from, Batch& out);
  WorkItem first_piece(WorkItem item) const;
  void drop_front_locked(std::deque<WorkItem>& from, std::uint64_t length);
  void return_credit_locked(std::uint64_t bytes);
  Result<void> acknowledge_locked(std::uint32_t stream, std::uint64_t frames);
  void finish_if_sent(std::unique_lock<std::mutex>& lock);

  const std::uint32_t extent_bytes_;
  const std::uint64_t hash_seed_;
  const std::function<void(std::uint32_t, const Ledger&)> on_disk_sent_;
  const std::function<void(std::uint32_t, std::uint32_t)> on_hashes_used_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // State below is protected by mutex_.
  const std::uint64_t credit_bytes_;  ///< What there was at first.
  std::uint64_t credit_;
  std::uint64_t credit_used_ = 0;  ///< Bytes that were taken and did not come back.
  HighWater most_;
  bool stopped_ = false;
  bool active_ = false;     ///< A disk, or a pass, is being sent.
  std::uint32_t pass_ = 0;  ///< Of the frames.
  std::uint32_t disk_ = 0;  ///< That ready_ is of.
  std::function<void()> on_pass_sent_;
  std::vector<LiveSource> live_;  ///< Of the pass; empty otherwise.
  std::size_t live_at_ = 0;       ///< The disk that is taken from.
  std::uint64_t taken_to_ = 0;    ///< Up to where it was. Bytes.
  PassBytes pass_bytes_;
  // Of mirrored writes: extent_queue_mirror.cc.
  std::optional<Mirroring> mirroring_;
  MirrorState mirror_state_;
  MirroredWrites mirrored_;
  /// Of each write that waits, by its number: its thread's, which is woken alone.
  std::map<std::uint64_t, std::condition_variable*> mirrored_waiters_;
  bool mirrored_pass_ = false;                ///< The pass that is being sent keeps busy_.
  std::map<std::uint32_t, BusyRanges> busy_;  ///< Of each disk: taken, and not acknowledged.
  std::chrono::steady_clock::time_point pass_begun_{};
  std::chrono::steady_clock::time_point last_answer_{};  ///< When something of them arrived.
  std::optional<std::uint64_t> close_at_;  ///< Writes after this one are for the next pass.
  std::uint64_t copying_bytes_ = 0;        ///< Payload of the background copy under way.
  std::uint64_t mirrored_under_way_ = 0;   ///< Items that were handed out, frames in flight.
  std::uint64_t mirrored_turn_bytes_ = 0;  ///< Taken since the background copy had its turn.
  std::uint64_t copy_turn_bytes_ = 0;      ///< What that took.
  vhdx::DiskView* view_ = nullptr;
  std::uint64_t mapped_to_ = 0;  ///< The virtual offset up to which the map was read.
  std::deque<WorkItem> ready_;   ///< At most what one look at the map brings, and what came back.
  std::uint64_t came_back_ = 0;  ///< Items at the front of ready_ that are to be sent again.
  SharedRanges held_;
  std::size_t held_passed_ = 0;  ///< Ranges of held_ that mapped_to_ has passed.
  /// Hashes that came and were not used: of cells from `offset` on.
  struct Hashes {
    std::uint64_t offset = 0;  ///< Bytes.
    std::deque<Hash128> left;
  };
  std::deque<Hashes> hashes_;
  std::deque<WorkItem> held_ready_;
  std::uint64_t held_left_ = 0;    ///< Cells whose work was not made yet.
  std::uint32_t hashes_used_ = 0;  ///< Not told yet.
  bool held_turn_ = true;          ///< Which queue is to be taken from next.
  std::map<std::uint32_t, Stream> streams_;
  std::uint64_t in_flight_ = 0;              ///< Frames on all streams.
  std::uint64_t acknowledged_ = 0;           ///< Frames of all streams.
  std::uint64_t handed_out_ = 0;             ///< Items pulled whose frames are not noted yet.
  std::map<std::uint32_t, Ledger> ledgers_;  ///< Of each disk.
};

}  // namespace vhdxm::transfer
