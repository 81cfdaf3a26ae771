// Repairs a disk's file in place: locked against other writers, with a backup beside it.
//
// The backup is NAME.repair-backup in the folder where the file really is. It is complete and
// durable before the disk changes by a byte; a name that ends in .partial was never needed.
#pragma once

#include <boost/system/result.hpp>
#include <memory>
#include <string>

#include "base/directory.h"
#include "base/posix_file.h"
#include "tools/command_failure.h"
#include "vhdx/repair.h"

namespace vhdxm::tools {

/// Where the backup of `disk` is, or would be; follows symbolic links.
std::string repair_backup_path(const std::string& disk);

/// Holds the disk's lock as long as it lives.
class DiskRepair {
 public:
  /// Opens the disk for writing. Failures: the system's; somebody else writes the disk.
  static boost::system::result<DiskRepair, CommandFailure> open(const std::string& disk);

  bool has_backup() const { return has_backup_; }
  const std::string& backup_path() const { return backup_path_; }

  /// Plans, keeps what will be lost, and carries out. Nothing is written unless there is something
  /// to mend and nothing in the way. Failures: the system's; a backup that is there already.
  boost::system::result<vhdx::RepairPlan, CommandFailure> repair();
  /// Makes the disk what it was, then removes the backup.
  CommandResult undo();
  /// Removes the backup.
  CommandResult discard_backup();

 private:
  DiskRepair(std::string disk, std::unique_ptr<Directory> folder, std::string backup_name,
             std::shared_ptr<PosixFile> file);

  Result<void> keep(const vhdx::RepairPlan& plan) const;
  CommandFailure no_backup() const;

  std::string disk_;
  std::unique_ptr<Directory> folder_;
  std::string backup_name_;
  std::string backup_path_;
  std::shared_ptr<PosixFile> file_;
  bool has_backup_ = false;
};

}  // namespace vhdxm::tools
