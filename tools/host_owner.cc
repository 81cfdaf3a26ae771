#include "tools/host_owner.h"

#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "migration/errc.h"
#include "migration/handover_text.h"
#include "tools/command_failure.h"
#include "tools/job_files.h"

namespace vhdxm::tools {
namespace {

using migration::DiskPlace;
using migration::JobRecord;
using migration::JobState;
using migration::OwnershipState;
using migration::OwnershipStore;
using migration::ServiceJob;

/// What the records say of a disk that a job was handing over; nothing if it was not released.
Result<std::optional<JobRecord>> released_by(OwnershipStore& store, const DiskPlace& place) {
  VHDXM_TRY(const auto sidecar, store.sidecar(place));
  if (!sidecar || sidecar->state == OwnershipState::kOwned) return std::optional<JobRecord>();
  VHDXM_TRY(auto record, store.job(sidecar->job));
  if (record) return record;
  return Error{.code = migration::Errc::kInDoubt,
               .where = "the record of the job that was handing it over is gone",
               .subject = path_of(place)};
}

}  // namespace

DiskPlace place_of(const std::string& path) {
  const std::filesystem::path whole(path);
  return {.folder = whole.parent_path(), .name = whole.filename()};
}

std::string path_of(const DiskPlace& place) {
  return place.folder + "/" + place.name;
}

Result<HostOwner::Start> HostOwner::open(const std::string& state_folder,
                                         std::vector<std::string> folders, HasMover has_mover) {
  Start start{.owner = std::unique_ptr<HostOwner>(new HostOwner(std::move(has_mover))),
              .arrived = {},
              .doubts = {}};
  HostOwner& owner = *start.owner;
  VHDXM_TRY(owner.records_, migration::HostRecords::open(state_folder, std::move(folders)));
  migration::HostOwnership& ownership = owner.ownership();
  const std::lock_guard lock(ownership.mutex);
  VHDXM_TRY(const auto jobs, ownership.store.jobs());
  for (const auto& id : jobs) {
    const auto record = ownership.store.job(id);
    if (record.has_error() || !*record || (*record)->state != JobState::kOwned) continue;
    Paths paths;
    for (const migration::JobDisk& disk : (*record)->disks) paths.push_back(path_of(disk.place));
    start.arrived.push_back({.paths = std::move(paths), .group = (*record)->group});
  }
  VHDXM_TRY(auto recovered, ownership.store.recover([&owner](const DiskPlace& place) {
    return owner.has_mover_(path_of(place));
  }));
  start.doubts = std::move(recovered.unreadable);
  for (const JobRecord& job : recovered.doubtful_jobs) {
    for (const migration::JobDisk& disk : job.disks) {
      start.doubts.push_back({disk.place, migration::doubt_sentence(job)});
    }
  }
  return start;
}

/// What a mover that has ended has left of its disks, and a job that moved them. The caller holds
/// the mutex.
Result<OwnershipStore::Recovered> HostOwner::recover(const Paths& paths) {
  std::set<std::string> all(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    VHDXM_TRY_VOID(records_->add_folder(place_of(path).folder));
    const auto sidecar = ownership().store.sidecar(place_of(path));
    if (sidecar.has_error() || !*sidecar) continue;
    const auto job = ownership().store.job((*sidecar)->job);
    if (job.has_error() || !*job) continue;
    for (const migration::JobDisk& disk : (*job)->disks) {
      const std::string other = path_of(disk.place);
      if (!has_mover_(other)) all.insert(other);
    }
  }
  return ownership().store.recover(
      [&all](const DiskPlace& place) { return !all.contains(path_of(place)); });
}

Result<std::optional<HostOwner::Unclear>> HostOwner::unclear(const Paths& paths) {
  const std::string& path = paths.front();
  const std::lock_guard lock(ownership().mutex);
  if (!has_mover_(path)) {
    VHDXM_TRY(auto recovered, recover(paths));
    if (!recovered.doubtful_jobs.empty()) {
      return std::optional(Unclear{.record = recovered.doubtful_jobs.front(), .in_doubt = true});
    }
  }
  VHDXM_TRY(auto record, released_by(ownership().store, place_of(path)));
  if (!record || record->state == JobState::kActive || record->state == JobState::kReceiving) {
    return std::optional<Unclear>();
  }
  return std::optional(Unclear{.record = std::move(*record)});
}

Result<void> HostOwner::may_write(const Paths& paths) {
  const std::lock_guard lock(ownership().mutex);
  VHDXM_TRY_VOID(recover(paths));
  for (const std::string& path : paths) {
    VHDXM_TRY_VOID(ownership().store.check_writable(place_of(path)));
  }
  return {};
}

void HostOwner::judge(ServiceJob& job) {
  const std::lock_guard lock(ownership().mutex);
  const auto found = [&]() -> Result<std::optional<JobRecord>> {
    // One that was started again since has put it right, and begins no job before this one is over.
    Paths paths;
    for (const migration::ServiceJobDisk& disk : job.disks) paths.push_back(disk.path);
    if (!has_mover_(paths.front())) VHDXM_TRY_VOID(recover(paths));
    return released_by(ownership().store, place_of(paths.front()));
  }();
  if (found.has_value() && (!*found || (*found)->state == JobState::kActive)) return;
  const bool confirmed = found.has_value() && (*found)->state == JobState::kConfirmed;
  job.state = confirmed ? ServiceJob::State::kDone : ServiceJob::State::kBlocked;
  job.exit = confirmed ? 0 : static_cast<std::int64_t>(ExitCode::kInDoubt);
  job.ownership = found.has_value() ? migration::owner_sentence(**found)
                                    : "Who owns the disk is not known: nobody may write to it.";
  if (confirmed) {
    job.message.clear();
    job.advice.clear();
    return;
  }
  job.message = found.has_value() ? "its process ended after it had released the disk"
                                  : failure_of(found.error()).message;
  job.advice = blocked_advice(job.id);
}

}  // namespace vhdxm::tools
