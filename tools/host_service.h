// The host's service: its disks, what arrives, and the jobs that leave.
#pragma once

#include <boost/json/object.hpp>
#include <boost/system/result.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "migration/disk_registry.h"
#include "migration/host_settings.h"
#include "tools/command_failure.h"
#include "tools/detached_process.h"
#include "tools/disk_exports.h"
#include "tools/host_arrivals.h"
#include "tools/job_desk.h"
#include "tools/service_log.h"

namespace vhdxm::tools {

/// A disk as it is registered, and how its export is.
struct DiskView {
  migration::RegisteredDisk disk;
  ExportStatus exported;
  bool moving = false;  ///< A job reads it: nobody can connect meanwhile.
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

  /// Moves a disk to another host. `wish`: disk or path; host as it was asked for, which is a name
  /// of the settings' peers, or HOST[:PORT]; what else is to be otherwise than the settings say.
  /// Failures: `outgoing` is off; there is no such disk, or no key; those of JobDesk::submit().
  Outcome<JobView> move(migration::ServiceJob wish);
  JobDesk& jobs() { return *jobs_; }
  /// Null where nothing may arrive.
  const HostArrivals* arrivals() const { return arrivals_.get(); }

 private:
  std::optional<CommandFailure> take_disk(const std::string& name);
  void give_back_disk(const std::string& name);
  Outcome<migration::ServiceJob> resolved(migration::ServiceJob wish) const;

  HostService(migration::HostSettings settings, ProcessLock lock,
              std::unique_ptr<migration::DiskRegistry> registry, ServiceLog& log);

  const migration::HostSettings settings_;
  const ProcessLock lock_;  ///< One service at a time has the state folder.
  ServiceLog& log_;
  const std::unique_ptr<migration::DiskRegistry> registry_;
  std::mutex disks_mutex_;  ///< Held while a disk is added or removed: one at a time.
  DiskExports exports_;
  std::unique_ptr<JobDesk> jobs_;  ///< Its threads use exports_.
  std::unique_ptr<HostArrivals> arrivals_;
};

}  // namespace vhdxm::tools
