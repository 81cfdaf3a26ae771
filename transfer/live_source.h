// Disks in use as a job sends them: plans that are made once writes are tracked, and maps that keep
// to these plans however the disks change.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "transfer/extent_queue.h"
#include "transfer/live_disk.h"
#include "transfer/send_source.h"

namespace vhdxm::transfer {

/// A disk that is to be moved while it is used.
struct MovingDisk {
  std::shared_ptr<LiveDisk> disk;
  std::string name;         ///< At the destination: a plain name of a file.
  std::string folder = {};  ///< Of the destination, by its name; empty: the usual.
};

/// What of a disk in use a job sends first. Its extents are read through LiveDisk, so they are what
/// the disk holds when they are read, wherever it stands by then.
///
/// The plan is of one moment. A block that had nothing then is sent as nothing, whole, whatever it
/// has got since; one that had something is mapped as it is now. Whoever changed a block between
/// has marked it, because writes were tracked before that moment: so it comes again with a later
/// pass, and nothing is lost.
class LiveView final : public vhdx::DiskView {
 public:
  /// Makes the plan. Requires: writes are tracked. Errors: those of LiveDisk::map().
  static Result<std::unique_ptr<LiveView>> of(std::shared_ptr<LiveDisk> disk);

  const vhdx::Description& description() const override { return disk_->description(); }
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length,
                            std::vector<vhdx::Extent>& out, std::size_t extents_max) override;
  /// As the plan says.
  Result<void> payload_states(std::uint64_t first_block,
                              std::span<vhdx::PayloadState> out) override;

  /// From now on blocks are mapped as they are, planned or not: for the passes after the first.
  void forget_plan() { planned_ = false; }
  LiveDisk& disk() { return *disk_; }
  std::uint64_t payload_bytes() const { return payload_bytes_; }

 private:
  class DiskFile;
  LiveView(std::shared_ptr<LiveDisk> disk, vhdx::BlockPlan plan);

  const std::shared_ptr<LiveDisk> disk_;
  const std::unique_ptr<File> file_;  ///< The disk's own bytes.
  vhdx::BlockPlan plan_;
  std::uint64_t payload_bytes_ = 0;
  std::atomic<bool> planned_{true};
};

/// All disks of one live job. They share a gate.
class LiveSource final : public SendSource {
 public:
  /// Begins to track writes, then makes the plans. Writes are tracked until stop() or until this is
  /// destroyed, unless the gate was fenced meanwhile.
  /// Errors: BaseErrc::kInvalidArgument for no disks, a name that cannot be used or is used twice
  /// in a folder, disks of several gates, one opened read-only, and differencing disks, which
  /// cannot move while they are used; Errc::kBusy if writes are tracked or held by somebody else;
  /// LiveDisk::map()'s.
  static Result<std::unique_ptr<LiveSource>> start(std::vector<MovingDisk> disks);
  ~LiveSource() override;

  std::size_t size() const override { return disks_.size(); }
  vhdx::DiskView& view(std::uint32_t disk) const override { return *views_[disk]; }
  std::vector<OfferDisk> offer() const override;
  const std::string& name(std::uint32_t disk) const override { return shown_names_[disk]; }
  const std::string& path(std::uint32_t disk) const override { return disks_[disk].disk->name(); }
  std::uint64_t payload_bytes(std::uint32_t disk) const override {
    return views_[disk]->payload_bytes();
  }
  /// A disk in use may change; what did is marked.
  Result<void> check_unchanged(std::uint32_t) const override { return {}; }

  LiveDisk& disk(std::uint32_t disk) const { return *disks_[disk].disk; }
  SharedGate& gate() { return disks_.front().disk->gate(); }
  /// For passes after the first.
  std::vector<ExtentQueue::LiveSource> sources();
  /// Changes of the disks go over `queue` too, as it says; null: not any more.
  void mirror_over(const std::shared_ptr<ExtentQueue>& queue);
  /// Of all disks. Bytes, whole pages.
  std::uint64_t dirty_bytes() const;
  /// Bytes of pages that became dirty so far: what a rate is computed from.
  std::uint64_t marked_bytes() const;
  /// Writes go ahead, and are not tracked any more, unless the gate is fenced. Once stopped this
  /// has nothing to do with the gate any more: another job may begin.
  void stop();
  /// Whatever the gate does, it goes on doing: who owns the disks is not known.
  void leave_as_it_is();

 private:
  explicit LiveSource(std::vector<MovingDisk> disks);

  std::vector<MovingDisk> disks_;
  std::vector<std::string> shown_names_;
  std::vector<std::unique_ptr<LiveView>> views_;
  bool left_ = false;  ///< The gate is not this job's any more.
};

}  // namespace vhdxm::transfer
