// Who owns the disks of this host, for its service: what must be known before a disk is exported,
// after a crash, and when a job has ended without saying how.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "migration/disk_registry.h"
#include "migration/host_records.h"
#include "migration/service_job.h"

namespace vhdxm::tools {

/// Thread safety: all members may be called from any thread.
class HostOwner {
 public:
  /// Whether the disk at a path has a mover that lives: what its job does is that one's.
  using HasMover = std::function<bool(const std::string& path)>;
  using Paths = std::vector<std::string>;

  struct Start {
    std::unique_ptr<HostOwner> owner;
    struct Arrived {
      Paths paths;
      std::string group;  ///< At their source; empty: in none.
    };
    /// Disks that arrived before a crash, and that this host owns: not registered perhaps.
    /// Those of each job.
    std::vector<Arrived> arrived;
    /// Disks that nobody may write to, and why.
    std::vector<migration::OwnershipStore::Doubt> doubts;
  };
  /// Puts right what a crash has left. `folders`: those that disks lie in.
  static Result<Start> open(const std::string& state_folder, std::vector<std::string> folders,
                            HasMover has_mover);

  migration::HostOwnership& ownership() { return records_->ownership(); }

  /// Whether this host may write to the disks at `paths`, which no mover has: puts right first what
  /// their last one left. Errors: those of OwnershipStore::check_writable().
  Result<void> may_write(const Paths& paths);

  /// A hand-over of the disk at `path` that was cut short.
  struct Unclear {
    migration::JobRecord record;
    bool in_doubt = false;  ///< The record is gone; this is what the owner records say.
  };
  /// Nothing: it is clear who owns the disk, or its mover sees to it. `paths`: that disk first,
  /// then those that have their mover in common with it.
  Result<std::optional<Unclear>> unclear(const Paths& paths);

  /// Of a live job whose process has ended without saying how: state, exit, message, advice and
  /// ownership, by the records.
  void judge(migration::ServiceJob& job);

 private:
  explicit HostOwner(HasMover has_mover) : has_mover_(std::move(has_mover)) {}
  Result<migration::OwnershipStore::Recovered> recover(const Paths& paths);

  const HasMover has_mover_;
  std::unique_ptr<migration::HostRecords> records_;
};

/// Folder and name of the file.
migration::DiskPlace place_of(const std::string& path);
std::string path_of(const migration::DiskPlace& place);

}  // namespace vhdxm::tools
