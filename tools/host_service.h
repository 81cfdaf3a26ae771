// The host's service: its disks, what arrives, and the jobs that leave.
#pragma once

#include <boost/json/object.hpp>
#include <boost/system/result.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "migration/disk_registry.h"
#include "migration/host_settings.h"
#include "tools/blocked_jobs.h"
#include "tools/command_failure.h"
#include "tools/detached_process.h"
#include "tools/disk_exports.h"
#include "tools/host_arrivals.h"
#include "tools/host_owner.h"
#include "tools/job_desk.h"
#include "tools/service_log.h"

namespace vhdxm::tools {

/// A disk as it is registered, and how its export is.
struct DiskView {
  migration::RegisteredDisk disk;
  ExportStatus exported;
  std::string job = {};  ///< That moves it now; empty: none.
};

/// Who owns a disk now.
struct OwnerSentence {
  std::string text;
};

/// Thread safety: all members may be called from any thread.
class HostService {
 public:
  template <class T>
  using Outcome = boost::system::result<T, CommandFailure>;

  /// Takes over what an earlier service has left: registered disks and their movers. Makes the
  /// state and run folders. Failures: another service has the state folder; the system's.
  /// Lifetime: `log` outlives the service.
  static Outcome<std::unique_ptr<HostService>> start(migration::HostSettings settings,
                                                     ServiceLog& log);
  /// Movers go on, and so do guests.
  ~HostService();

  const migration::HostSettings& settings() const { return settings_; }

  /// Registers the disk, and exports it. Returns when clients can connect.
  /// Failures: of usage for a name or path that cannot be; EEXIST; the disk's.
  Outcome<DiskView> add_disk(migration::RegisteredDisk disk);
  /// Failures: there is no such disk (of usage); clients use it, and `force` was not said (of the
  /// class that goes away by itself).
  Outcome<DiskView> remove_disk(const std::string& name, bool force);
  std::vector<DiskView> disks();
  std::optional<DiskView> disk(const std::string& name);
  /// Waits until it is known whether a disk that is being started, or found, can be exported.
  void settle_disk(const std::string& name) { exports_.settled(name); }

  /// What somebody wants moved.
  struct MoveWish {
    /// host as it was asked for, which is a name of the settings' peers, or HOST[:PORT]; what else
    /// is to be otherwise than the settings say; no disks.
    migration::ServiceJob job;
    std::vector<std::string> disks;  ///< Registered names; or `path`, or `group`.
    std::string path;                ///< Of the file of one.
    std::string group;
    std::optional<migration::PlaceThere> as;              ///< Of one disk.
    std::map<std::string, migration::PlaceThere> places;  ///< The same by the names of disks.
  };
  /// Moves registered disks to another host, ownership and all: one, or all of a group. Failures:
  /// `outgoing` is off; there is no such disk, or no key; the disks cannot be handed over; those
  /// of JobDesk::submit().
  Outcome<JobView> move(MoveWish wish);
  /// Ends a hand-over that was cut short. `what`: a job that is blocked, or a disk. `force`: this
  /// host is made the owner, because the other one is destroyed. Returns who owns the disk now, in
  /// one sentence. Failures: of usage if there is nothing to resolve; kInDoubt if it stays unclear.
  /// One that was resolved already is no failure.
  Outcome<OwnerSentence> resolve(const std::string& what, bool force);
  /// Removes what arrived of a disk that was in use at its source, where it is certain that the
  /// source owns it. `what`: the disk's file; without a folder, in whichever it is. False: there is
  /// nothing of it. Failures: of usage if it is in several folders; kInDoubt.
  Outcome<bool> remove_arrived(const migration::PlaceThere& what);
  /// Removes the copy of a disk that was released from here, and those of the disks that were moved
  /// with it; they are not registered any more. `what`: a registered name, or the file's. False:
  /// there is none. Failures: clients read one of them (of the class that goes away by itself); of
  /// usage if several may be meant; kInDoubt while the destination has not confirmed that it owns
  /// them.
  Outcome<bool> remove_released(const std::string& what);
  JobDesk& jobs() { return *jobs_; }
  /// Null where nothing may arrive.
  const HostArrivals* arrivals() const { return arrivals_.get(); }

 private:
  std::optional<CommandFailure> cannot_move(const std::string& name);
  std::optional<CommandFailure> cannot_move(const migration::ServiceJob& job);
  Outcome<std::vector<migration::RegisteredDisk>> disks_meant(const MoveWish& wish) const;
  std::optional<CommandFailure> not_one_group(
      const std::vector<migration::RegisteredDisk>& disks) const;
  Outcome<std::vector<migration::ServiceJobDisk>> named_there(
      const MoveWish& wish, const std::vector<migration::RegisteredDisk>& disks) const;
  Outcome<migration::ServiceJob> resolved(MoveWish wish) const;
  std::optional<CommandFailure> open_owner();
  std::optional<CommandFailure> open_jobs();
  Result<void> make_way(const std::vector<migration::DiskPlace>& places);
  void expect_disks(const migration::Arrival& arrival);
  void open_disks(const migration::Arrival& arrival);
  void see_to_disks(const migration::Arrival& arrival);
  Result<transfer::ForwardDoor> forward_to(const transfer::ForwardWish& wish);
  void take_over_disks(const HostOwner::Paths& paths, const std::string& group_there,
                       const std::optional<MoverSet>& expected);
  std::optional<MoverSet> set_for(const HostOwner::Paths& paths,
                                  const std::string& group_there) const;
  bool is_expected(const std::string& name) const;
  std::vector<std::string> paths_with(const std::string& path) const;
  MoverSet set_of(const migration::RegisteredDisk& disk) const;
  Result<void> own_files(const std::vector<migration::DiskPlace>& places) const;
  std::vector<migration::DiskPlace> places_meant(const migration::PlaceThere& what) const;
  static CommandFailure in_several_folders(const std::string& what, const HostOwner::Paths& paths);
  Outcome<HostOwner::Paths> released_meant(const std::string& what);
  HostOwner::Paths paths_meant(const std::string& what, const std::optional<JobView>& job) const;
  Outcome<OwnerSentence> resolve_here(const std::string& path, const migration::JobRecord& record,
                                      bool force);
  Outcome<OwnerSentence> take_back(const std::string& path, const HostOwner::Unclear& unclear,
                                   const std::optional<JobView>& job);
  Outcome<OwnerSentence> ask_destination(const HostOwner::Unclear& unclear, const JobView& job);
  void export_again(const std::string& path);
  static HostOwner::Paths paths_in(const migration::JobRecord& record);
  std::optional<std::string> ask_again(const std::string& id);
  std::optional<std::string> name_for(const std::string& path, const MoverSet& others) const;
  std::string group_for(const std::string& name) const;

  HostService(migration::HostSettings settings, ProcessLock lock,
              std::unique_ptr<migration::DiskRegistry> registry, ServiceLog& log);

  const migration::HostSettings settings_;
  const ProcessLock lock_;  ///< One service at a time has the state folder.
  ServiceLog& log_;
  const std::unique_ptr<migration::DiskRegistry> registry_;
  std::mutex resolve_mutex_;          ///< One at a time is resolved. Taken before disks_mutex_.
  std::mutex disks_mutex_;            ///< Held while a disk is added or removed: one at a time.
  std::unique_ptr<HostOwner> owner_;  ///< Used by exports_.
  std::vector<HostOwner::Start::Arrived>
      arrived_;  ///< Before this service was started: to be registered.
  DiskExports exports_;
  mutable std::mutex expected_mutex_;  ///< Taken last, and briefly.
  /// What arrives, by the number of its arrival. Protected by expected_mutex_.
  std::map<std::uint64_t, MoverSet> expected_;
  std::unique_ptr<BlockedJobs> blocked_;  ///< Its thread uses jobs_, and ends before it.
  std::unique_ptr<JobDesk> jobs_;         ///< Its threads use exports_ and blocked_.
  std::unique_ptr<HostArrivals> arrivals_;
};

}  // namespace vhdxm::tools
