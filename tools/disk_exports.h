// The movers of this host's disks, by disk. See tools/mover_watch.h.
//
// A service that is started again adopts the movers that it finds, and starts only those that are
// missing.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tools/mover_watch.h"

namespace vhdxm::tools {

/// Disks of one group, or one of none: what one mover holds.
using MoverSet = std::vector<migration::RegisteredDisk>;
/// By group.
std::vector<MoverSet> mover_sets_of(const std::vector<migration::RegisteredDisk>& disks);

/// Thread safety: all members may be called from any thread.
class DiskExports {
 public:
  using Setting = MoverWatch::Setting;
  using Refusal = MoverWatch::Refusal;

  /// Lifetime: `log` outlives this.
  DiskExports(Setting setting, ServiceLog& log);
  /// Movers go on.
  ~DiskExports();
  DiskExports(const DiskExports&) = delete;
  DiskExports& operator=(const DiskExports&) = delete;

  /// Begins to export disks, or takes over the mover that does. Returns at once.
  void begin(const MoverSet& disks);
  /// Exports one more disk, by the mover of its group if there is one, and waits for that. Why it
  /// cannot be exported; nothing of it is left then.
  std::optional<CommandFailure> add(const migration::RegisteredDisk& disk);
  /// Waits until it is known whether begin() succeeded, and asks its mover how it is. Nothing if
  /// the disk was not begun.
  std::optional<ExportStatus> settled(const std::string& name);
  /// As it is now; does not wait for a mover that is being started.
  std::optional<ExportStatus> status(const std::string& name);

  /// Has the mover close the disk, and waits for that. Nothing if it is closed, or was not begun.
  std::optional<Refusal> end(const std::string& name, bool force);
  /// The same for all disks that have their mover in common with that one.
  std::optional<Refusal> end_set(const std::string& name, bool force);
  /// Has the mover of a disk move its disks, as the record of job `id` says. Returns when the job
  /// has begun; why it has not, where its record does not say so.
  std::optional<std::string> move(const std::string& name, const std::string& id);
  /// As MoverWatch::forward(), of the disk whose file that is.
  Result<transfer::ForwardDoor> forward(const std::string& path, const std::string& job);
  /// Whether a mover of that disk lives, begun here or not.
  bool has_mover(const migration::RegisteredDisk& disk) const;

  /// Disks are arriving: their mover is started, and waits. Requires: none of them is exported.
  void expect(const MoverSet& disks);
  /// This host owns the disks that were expected, and came by `job`: the mover opens them. Does not
  /// wait.
  void taken(const std::string& name, const std::string& job);
  /// As MoverWatch::await_open().
  void await_open(const std::string& name, std::chrono::milliseconds patience);
  /// They are this host's for good. False: they were not expected.
  bool confirm(const std::string& name);
  /// They do not arrive: the mover ends.
  void dismiss(const std::string& name);

  /// Empty unless sockets of that name would have too long a path; `key`: as MoverWatch::key_of().
  static std::string socket_problem(const std::string& run_folder, const std::string& key);

 private:
  std::shared_ptr<MoverWatch> find(const std::string& name);
  void put(const MoverSet& disks, MoverWatch::Purpose purpose);
  void forget(const std::shared_ptr<MoverWatch>& watch);

  const Setting setting_;
  ServiceLog& log_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<MoverWatch>> watches_;  ///< By key. Protected by mutex_.
};

}  // namespace vhdxm::tools
