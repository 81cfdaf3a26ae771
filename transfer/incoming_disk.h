// A disk that is arriving: applies frames from any stream, and accounts for every byte.
//
// Of a disk in use the partial is a whole VHDX from the beginning, so that anything can be written
// to it at any time and in any order of blocks: first everything, once, then passes over what was
// written at the source meanwhile.
//
// It goes on with what an earlier job left of it, and takes cells of a seed, where the sender finds
// that they are what it would send (docs/protocol.md, "Reconcile").
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "base/directory.h"
#include "transfer/coverage.h"
#include "transfer/frame_sink.h"
#include "transfer/held_ranges.h"
#include "transfer/job_journal.h"
#include "transfer/ledger.h"
#include "transfer/messages.h"
#include "transfer/seed_disk.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/disk_writer.h"

namespace vhdxm::transfer {

/// Lives as `NAME.partial`, with a journal beside it, until commit(). If destroyed before, the file
/// stays for a later job to go on with, unless it is known to be bad, or discard() was called.
///
/// Thread safety: apply() from several threads at once, hash_cells() from one other; the others
/// from one thread, seal() and later only when no apply() is under way.
class IncomingDisk final : public FrameSink {
 public:
  /// What the file is given when it gets its name.
  struct Ownership {
    std::optional<std::uint32_t> uid;
    std::optional<std::uint32_t> gid;
    std::uint32_t mode = 0600;
  };

  /// Makes the partial file and its journal, both locked and durable, or goes on with what an
  /// earlier job left if that is of this disk and plan. What is of this disk, but had other blocks,
  /// is put aside, and cells of it are taken as of a seed; anything else of that name is replaced.
  /// `folder`: the one that the offer names. `offer`: as the sender described it, its locator
  /// already fit for this folder.
  /// `held_ranges_max`: at most kHeldRangesMax; bounds memory. Of more, the longest are held.
  /// Errors: Errc::kBusy if another job is receiving that name; ENOSPC; the file's; SeedDisk's.
  static Result<std::unique_ptr<IncomingDisk>> start(const Directory& folder,
                                                     const OfferDisk& offer, vhdx::BlockPlan plan,
                                                     std::uint64_t hash_seed, const JobId& job_id,
                                                     std::size_t held_ranges_max = kHeldRangesMax,
                                                     JobKind kind = JobKind::kCopy);
  ~IncomingDisk() override;
  IncomingDisk(const IncomingDisk&) = delete;
  IncomingDisk& operator=(const IncomingDisk&) = delete;

  // What it began with.
  PartialState partial() const { return partial_; }
  /// Bytes of the disk in the ranges that the partial, or the one put aside, holds.
  std::uint64_t resumed_bytes() const { return resumed_bytes_; }
  const SharedRanges& held() { return held_.share(); }

  struct HashedCells {
    std::uint64_t first_cell = 0;
    std::vector<Hash128> hashes;
  };
  /// Reads and hashes the next held cells, at most `cells_max`, that stand side by side; from now
  /// on frames may say kSame of them. A cell that cannot be read has the hash zero. Requires: there
  /// are some.
  HashedCells hash_cells(std::uint32_t cells_max);

  /// Checks the frame (range, account, hash of the payload) and writes it. `scratch`: kCellBytes,
  /// for a cell that is copied. Errors are sticky: after one, every call fails. Errc::kProtocol,
  /// kChecksum, kDestinationIo and the file's.
  Result<void> apply(const FrameHeader& frame, std::span<const std::byte> payload,
                     std::span<std::byte> scratch) override;

  /// Makes all that was applied before the call durable.
  Result<void> sync();
  /// Holds the sender's account against this one, then completes the file, durably. Of a disk in
  /// use that is the end of pass 1, and the frames of pass 2 may come.
  /// Errors: Errc::kLedgerMismatch.
  Result<Hash128> seal(const EndDisk& end);
  /// Kind kLive, after seal(): holds the sender's account of all passes against this one, and makes
  /// what came durable. Then the frames of the next pass may come. Errors: Errc::kLedgerMismatch.
  Result<void> end_pass(const PassLedger& theirs);
  PassLedger pass_ledger();
  /// Kind kLive, from seal() to close_for_owner(): as of transfer/page_compare.h, read from the
  /// device. May be called beside apply(). Requires: the range lies inside the disk.
  Result<std::vector<std::uint32_t>> differing_pages(const VerifyRange& range);
  /// Kind kLive: whether not a byte may be removed, whatever happens: this host may own it.
  void keep_always(bool keep) { keep_ = keep; }
  /// Kind kLive, when no frame is to come before the disk is handed over, or reopen() is called:
  /// the part of close_for_owner() that takes time. May be called again.
  Result<void> close_ahead();
  /// Frames may come after all.
  Result<void> reopen();
  /// Kind kLive: leaves a file with an empty log, durably, and with its owner and mode. Its name is
  /// for whoever writes down that this host owns it; owner and mode are durable when that is (ext4,
  /// xfs: their journals keep the order). Afterwards this object is of no more use.
  Result<void> close_for_owner(const Ownership& ownership);
  /// After that, and when the disk has its name: others may open the file from here on.
  void let_go();
  /// After that: what an earlier job would have gone on with. Takes longer than a guest should
  /// wait.
  void forget();
  /// Gives the sealed file its name. Errors: EEXIST.
  Result<void> commit(const Ownership& ownership);
  /// Nothing of it is to be left: what it holds cannot be relied on.
  void discard();
  /// Whether the partial stays when this is destroyed now.
  bool will_stay();

  const std::string& name() const { return offer_.name; }
  /// With its folder, as text_of_place().
  std::string shown_name() const;
  /// Where the file is now.
  std::string path() const;
  std::uint64_t virtual_bytes() const { return offer_.description.geometry.virtual_size_bytes; }
  std::uint64_t applied_bytes() const { return applied_.load(std::memory_order_relaxed); }
  std::uint64_t payload_bytes() const { return payload_.load(std::memory_order_relaxed); }
  /// Of the disk's range, that were here already.
  std::uint64_t same_bytes() const { return same_.load(std::memory_order_relaxed); }
  /// What a sync has to write at most: payload that came, and cells that were copied.
  std::uint64_t written_bytes() const { return payload_bytes() + copied_.load(); }

 private:
  IncomingDisk(const Directory& folder, OfferDisk offer, std::uint64_t hash_seed, JobKind kind);
  Result<void> open_partial(const vhdx::BlockPlan& plan, const JobId& job_id);
  Result<bool> resume_partial(const vhdx::BlockPlan& plan);
  Result<void> open_live(const vhdx::BlockPlan& plan, const JobId& job_id);
  Result<bool> resume_live(const JobJournal& mine);
  /// The disk as it is open now: reopen() changes it, and a sender may have not waited for what
  /// other threads still do with it.
  std::shared_ptr<vhdx::DiskWriter> live() const;
  /// Puts aside what may be of use, as the former file; what it is of.
  Result<std::optional<BegunFile>> put_aside(const std::optional<JobJournal>& journal);
  std::uint64_t bytes_held_by(const Directory& folder, const std::string& name,
                              const BegunFile& begun) const;
  std::unique_ptr<SeedDisk> open_former(const BegunFile& begun) const;
  Result<void> start_anew(const vhdx::BlockPlan& plan, const JobJournal& journal);
  Result<std::vector<HeldRange>> held_live() const;
  Result<std::vector<HeldRange>> held_by_plan(std::size_t ranges_max);
  Result<void> find_held(std::size_t ranges_max);
  /// Where a cell that is held was found.
  enum class Place : std::uint8_t { kPartial, kFormer, kSeed };
  Result<Place> place_of(std::uint64_t offset, std::uint64_t length);
  Result<Hash128> hash_cell(Place place, std::uint64_t offset, std::span<std::byte> bytes);
  Result<Hash128> hash_of_partial(std::uint64_t offset, std::span<std::byte> bytes);
  std::uint64_t cell_length(std::uint64_t offset) const;

  Result<void> take_offered_locked(const FrameHeader& frame, Place& place);
  Result<void> apply_unchecked(const FrameHeader& frame, std::span<const std::byte> payload,
                               std::span<std::byte> scratch, Place place);
  Result<void> check_pass(const FrameHeader& frame) const;
  Result<void> apply_live(const FrameHeader& frame, std::span<const std::byte> payload);
  Result<void> clear_live(const FrameHeader& frame);
  Result<void> set_ownership(const Ownership& ownership);
  Result<void> apply_same(const FrameHeader& frame, std::span<std::byte> scratch, Place place);
  void remove_all();

  const Directory& folder_;
  const OfferDisk offer_;
  const std::uint64_t hash_seed_;
  const std::string partial_name_;
  std::unique_ptr<Directory> state_;
  std::unique_ptr<JournalFile> journal_;  ///< Held as long as the disk is this job's.
  std::shared_ptr<PosixFile> file_;
  const JobKind kind_;
  std::unique_ptr<vhdx::BulkWriter> writer_;  ///< kCopy.
  /// kLive; see live().
  std::shared_ptr<vhdx::DiskWriter> live_;
  mutable std::mutex live_mutex_;
  std::optional<vhdx::BlockPlan> live_plan_;  ///< kLive: of pass 1.
  bool closed_ahead_ = false;                 ///< kLive.
  /// Whose frames may come; 0 of kCopy.
  std::atomic<std::uint32_t> pass_;
  std::atomic<bool> keep_{false};
  std::unique_ptr<SeedDisk> former_;  ///< What an earlier job left of the disk as it was then.
  std::unique_ptr<SeedDisk> seed_;
  bool gone_on_with_ = false;  ///< The partial is an earlier job's.
  PartialState partial_ = PartialState::kNone;
  std::uint64_t resumed_bytes_ = 0;
  HeldRangeList held_;
  BufferPool hash_pool_{kCellBytes, 1};
  bool committed_ = false;
  bool sealing_ = false;                   ///< seal() may have made a VHDX of the file.
  std::atomic<std::uint64_t> applied_{0};  ///< Bytes of the disk's range.
  std::atomic<std::uint64_t> payload_{0};  ///< Bytes of payload.
  std::atomic<std::uint64_t> same_{0};
  std::atomic<std::uint64_t> copied_{0};
  std::mutex mutex_;
  // State below is protected by mutex_.
  Coverage coverage_;
  Ledger ledger_;
  std::optional<Error> failure_;
  bool discard_ = false;
  /// Hashes that were handed out and are not settled, by the offset of their cell. Bounded by
  /// kCellHashesMax and the frames that may be under way.
  struct Offered {
    Hash128 hash;
    Place place = Place::kPartial;
  };
  std::map<std::uint64_t, Offered> offered_;
};

}  // namespace vhdxm::transfer
