// The records of ownership as this host's service and the movers of its disks share them.
//
// In the state folder there is a folder `handover`: a record a job, the file `host` that says who
// this host is, and the file `lock`, by which one process at a time uses all of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "migration/host_ownership.h"
#include "migration/journal_arbiter.h"

namespace vhdxm::migration {

class HostRecords {
 public:
  /// `state_folder`: of the host's service; what is missing in it is made. `disk_folders`: where
  /// owner records are looked for; others are added as they are used.
  /// Errors: the system's; Errc::kRecord for a file that does not say who this host is.
  static Result<std::unique_ptr<HostRecords>> open(const std::string& state_folder,
                                                   std::vector<std::string> disk_folders);

  HostOwnership& ownership() { return ownership_; }
  /// Where owner records are looked for, too.
  Result<void> add_folder(const std::string& folder);

 private:
  HostRecords(std::unique_ptr<Directory> folder, std::vector<std::string> disk_folders)
      : state_(std::move(folder)), folders_(std::move(disk_folders)) {}

  DirectoryFiles state_;
  DirectoryFolders folders_;
  OwnershipStore store_{state_, folders_};
  JournalArbiter arbiter_{store_};
  HostOwnership ownership_{.id = {}, .store = store_, .arbiter = arbiter_};
};

}  // namespace vhdxm::migration
