#include "tools/disk_repair.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "tools/printable_text.h"
#include "vhdx/errc.h"
#include "vhdx/repair_backup.h"

namespace vhdxm::tools {
namespace {

constexpr std::string_view kBackupSuffix = ".repair-backup";

std::filesystem::path real_path(const std::string& disk) {
  std::error_code ignored;
  const auto real = std::filesystem::canonical(disk, ignored);
  return real.empty() ? std::filesystem::path(disk) : real;
}

CommandFailure in_use(const std::string& disk, std::string_view who) {
  return {.message = fmt::format("{}: in use: {}", printable(disk), who),
          .advice = "Stop what uses the disk, then run it again. The file was not changed.",
          .exit = ExitCode::kFailed,
          .ownership = {}};
}

CommandFailure changed_meanwhile(const std::string& disk) {
  return in_use(disk, "it was written while the repair was planned");
}

}  // namespace

std::string repair_backup_path(const std::string& disk) {
  return real_path(disk).string() + std::string(kBackupSuffix);
}

boost::system::result<DiskRepair, CommandFailure> DiskRepair::open(const std::string& disk) {
  const std::filesystem::path real = real_path(disk);
  const std::string folder_path = real.has_parent_path() ? real.parent_path().string() : ".";
  const std::string name = real.filename().string();
  VHDXM_COMMAND_TRY(auto folder, Directory::open(folder_path));
  VHDXM_COMMAND_TRY(std::shared_ptr<PosixFile> file,
                    folder->open_file(name, {.access = PosixFile::Access::kReadWrite}));
  VHDXM_COMMAND_TRY(const bool locked, file->lock_for_writing());
  if (!locked) {
    VHDXM_COMMAND_TRY(const bool is_written, file->is_written_by_qemu());
    return in_use(disk, is_written ? "QEMU, or a program that locks as it does, writes to it"
                                   : "another program has locked it");
  }
  std::string backup_name = name + std::string(kBackupSuffix);
  VHDXM_COMMAND_TRY(const bool has_backup, folder->exists(backup_name));
  DiskRepair repair(disk, std::move(folder), std::move(backup_name), std::move(file));
  repair.has_backup_ = has_backup;
  return repair;
}

DiskRepair::DiskRepair(std::string disk, std::unique_ptr<Directory> folder, std::string backup_name,
                       std::shared_ptr<PosixFile> file)
    : disk_(std::move(disk)),
      folder_(std::move(folder)),
      backup_name_(std::move(backup_name)),
      backup_path_(repair_backup_path(disk_)),
      file_(std::move(file)) {}

boost::system::result<vhdx::RepairPlan, CommandFailure> DiskRepair::repair() {
  VHDXM_COMMAND_TRY(const PosixFile::Stamp planned_for, file_->stamp());
  VHDXM_COMMAND_TRY(vhdx::RepairPlan plan, vhdx::plan_repair(file_));
  if (plan.mends.empty()) return plan;
  if (has_backup_) {
    return CommandFailure{
        .message = fmt::format("{}: the backup of an earlier repair is there: {}", printable(disk_),
                               printable(backup_path_)),
        .advice =
            fmt::format("Take the repair back with `vhdx-migrate check --repair --undo {0}`, "
                        "or give the backup up with `vhdx-migrate check --discard-backup {0}`.",
                        shell_word(disk_)),
        .exit = ExitCode::kFailed,
        .ownership = {}};
  }
  VHDXM_COMMAND_TRY_VOID(keep(plan));
  has_backup_ = true;
  // Not everybody who writes respects the lock.
  VHDXM_COMMAND_TRY(const PosixFile::Stamp now, file_->stamp());
  VHDXM_COMMAND_TRY(const bool by_qemu, file_->is_written_by_qemu());
  if (by_qemu || now != planned_for) {
    VHDXM_COMMAND_TRY_VOID(folder_->remove(backup_name_));
    return changed_meanwhile(disk_);
  }
  if (auto applied = plan.apply(*file_); applied.has_error()) {
    CommandFailure failure = failure_of(applied.error());
    failure.advice = fmt::format(
        "The repair was not finished. Take it back with `vhdx-migrate check --repair "
        "--undo {}`.",
        shell_word(disk_));
    return failure;
  }
  return plan;
}

Result<void> DiskRepair::keep(const vhdx::RepairPlan& plan) const {
  const std::string partial = backup_name_ + ".partial";
  // Whoever made one there had the lock then and has it no more.
  VHDXM_TRY_VOID(folder_->remove(partial));
  VHDXM_TRY(const auto backup, folder_->create_file(partial, /*direct=*/false));
  auto written = vhdx::write_repair_backup(plan, *backup);
  if (!written.has_error()) written = folder_->rename_no_replace(partial, backup_name_);
  if (written.has_error()) {
    static_cast<void>(folder_->remove(partial));
    return written;
  }
  return folder_->sync();
}

CommandFailure DiskRepair::no_backup() const {
  return {.message = fmt::format("{}: there is no backup of a repair: {} does not exist",
                                 printable(disk_), printable(backup_path_)),
          .advice = "",
          .exit = ExitCode::kFailed,
          .ownership = {}};
}

CommandResult DiskRepair::undo() {
  if (!has_backup_) return no_backup();
  VHDXM_COMMAND_TRY(const auto backup, folder_->open_file(backup_name_, {}));
  if (auto undone = vhdx::undo_repair(*file_, *backup); undone.has_error()) {
    const bool ours = undone.error().code == vhdx::Errc::kBadBackup ||
                      undone.error().code == vhdx::Errc::kBackupMismatch;
    CommandFailure failure =
        failure_of(std::move(undone).error().about(ours ? backup_path_ : disk_));
    if (ours) failure.advice = "The disk was not changed.";
    return failure;
  }
  return discard_backup();
}

CommandResult DiskRepair::discard_backup() {
  if (!has_backup_) return no_backup();
  VHDXM_COMMAND_TRY_VOID(folder_->remove(backup_name_));
  VHDXM_COMMAND_TRY_VOID(folder_->sync());
  has_backup_ = false;
  return ExitCode::kDone;
}

}  // namespace vhdxm::tools
