// What an OwnershipStore does after a start, and what it tells another host.
#include <algorithm>
#include <string_view>
#include <utility>

#include "migration/errc.h"
#include "migration/ownership_store.h"

namespace vhdxm::migration {
namespace {

std::optional<JobId> job_of_name(std::string_view name) {
  const std::string_view ending = kJobRecordEnding;
  JobId id{};
  if (!name.ends_with(ending) || name.size() != 2 * id.size() + ending.size()) return {};
  for (std::size_t i = 0; i < 2 * id.size(); ++i) {
    const char c = name[i];
    const bool digit = c >= '0' && c <= '9';
    if (!digit && (c < 'a' || c > 'f')) return {};
    const int value = digit ? c - '0' : c - 'a' + 10;
    id[i / 2] = static_cast<std::uint8_t>(id[i / 2] << 4 | value);
  }
  return id;
}

Result<void> remove_new_files(OwnershipFiles& folder, std::string_view ending) {
  VHDXM_TRY(const auto names, folder.list());
  for (const std::string& name : names) {
    if (name.ends_with(std::string(ending) + kNewEnding)) VHDXM_TRY_VOID(folder.remove(name));
  }
  return {};
}

bool has_busy_disk(const JobRecord& record, const OwnershipStore::BusyDisks& is_busy) {
  return is_busy && std::any_of(record.disks.begin(), record.disks.end(),
                                [&](const JobDisk& disk) { return is_busy(disk.place); });
}

// What the sidecars of a job say whose record is gone or cannot be read.
JobRecord& record_of(const OwnershipRecord& sidecar, std::vector<JobRecord>& jobs) {
  auto job = std::find_if(jobs.begin(), jobs.end(),
                          [&](const JobRecord& j) { return j.job == sidecar.job; });
  if (job != jobs.end()) return *job;
  return jobs.emplace_back(JobRecord{.state = JobState::kActive,
                                     .job = sidecar.job,
                                     .source = sidecar.source,
                                     .target = sidecar.target});
}

void add_sidecar(const DiskPlace& place, const OwnershipRecord& sidecar, JobRecord& record) {
  JobDisk disk{.terms = {.id = sidecar.id, .epoch = sidecar.epoch, .ledger = sidecar.ledger},
               .place = place};
  switch (sidecar.state) {
    case OwnershipState::kOwned:
    case OwnershipState::kHandover:
      break;
    case OwnershipState::kReleased:
      // All disks of a job are released at once. What their ledgers were, the destination knows.
      record.state = JobState::kReleased;
      record.attempt = sidecar.attempt;
      break;
    case OwnershipState::kIncoming:
      disk.moves_back = true;
      [[fallthrough]];
    case OwnershipState::kReceiving:
      record.state = JobState::kReceiving;
      disk.terms.epoch -= 1;
      break;
  }
  record.disks.push_back(std::move(disk));
}

}  // namespace

Result<std::vector<JobId>> OwnershipStore::jobs() {
  VHDXM_TRY(const auto names, state_.list());
  std::vector<JobId> ids;
  for (const std::string& name : names) {
    if (const auto id = job_of_name(name)) ids.push_back(*id);
  }
  return ids;
}

// What was read may be what a process wrote that died before it was durable: it is written again
// before anything follows from it.
Result<void> OwnershipStore::recover_job(const JobRecord& record, Recovered& recovered) {
  VHDXM_TRY_VOID(put(record));
  switch (record.state) {
    case JobState::kActive:
      return withdraw(record);
    case JobState::kOwned:
    case JobState::kReclaimed:
      VHDXM_TRY_VOID(settle(record));
      return drop(record);
    case JobState::kReleased:
    case JobState::kConfirmed:
    case JobState::kReceiving:
    case JobState::kPrepared:
      break;
  }
  recovered.jobs.push_back(record);
  return settle(record);
}

Result<void> OwnershipStore::recover_jobs(const BusyDisks& is_busy, Recovered& recovered) {
  VHDXM_TRY_VOID(remove_new_files(state_, kJobRecordEnding));
  // A record that is gone may be so only for now.
  VHDXM_TRY_VOID(state_.sync());
  VHDXM_TRY(const auto ids, jobs());
  for (const JobId& id : ids) {
    const auto record = job(id);
    if (record.has_error() || !*record) continue;  // Its disks are in doubt: see their sidecars.
    if (has_busy_disk(**record, is_busy)) continue;
    const auto done = recover_job(**record, recovered);
    if (done.has_error()) {
      for (const JobDisk& disk : (*record)->disks) {
        recovered.unreadable.push_back({disk.place, describe(done.error())});
      }
    }
  }
  // All are settled now: those whose disks other jobs have, are over.
  std::vector<JobRecord> kept;
  for (JobRecord& record : recovered.jobs) {
    VHDXM_TRY_VOID(drop_if_stale(record.job));
    VHDXM_TRY(const auto still, job(record.job));
    if (still) kept.push_back(std::move(record));
  }
  recovered.jobs = std::move(kept);
  return {};
}

Result<void> OwnershipStore::recover_sidecar(const DiskPlace& place, Recovered& recovered) {
  const auto record = sidecar(place);
  if (record.has_error()) {
    recovered.unreadable.push_back({place, describe(record.error())});
    return {};
  }
  if (!*record || (*record)->state == OwnershipState::kOwned) return {};
  const auto decided = job((*record)->job);
  if (decided.has_value() && *decided) {
    const auto& disks = (*decided)->disks;
    const bool listed = std::any_of(disks.begin(), disks.end(),
                                    [&](const JobDisk& disk) { return disk.place == place; });
    if (listed || (*decided)->state != JobState::kReceiving) return {};
  }
  const bool arrives = (*record)->state == OwnershipState::kReceiving ||
                       (*record)->state == OwnershipState::kIncoming;
  if (decided.has_error() && arrives) {
    recovered.unreadable.push_back({place, describe(decided.error())});
    return {};
  }
  add_sidecar(place, **record, record_of(**record, recovered.doubtful_jobs));
  return {};
}

// Where the sidecars alone say enough, the record is made again.
Result<void> OwnershipStore::recover_records(Recovered& recovered) {
  for (JobRecord record : recovered.doubtful_jobs) {
    if (record.state == JobState::kActive) continue;
    if (record.state == JobState::kReceiving) {
      // A disk that was left for another job, which then did not begin.
      VHDXM_TRY(const auto rest, job(record.job));
      if (rest) record.disks.insert(record.disks.end(), rest->disks.begin(), rest->disks.end());
    }
    VHDXM_TRY_VOID(put(record));
    VHDXM_TRY_VOID(settle(record));
    std::erase_if(recovered.jobs, [&](const JobRecord& job) { return job.job == record.job; });
    recovered.jobs.push_back(std::move(record));
  }
  std::erase_if(recovered.doubtful_jobs,
                [](const JobRecord& record) { return record.state != JobState::kActive; });
  return {};
}

Result<void> OwnershipStore::recover_sidecars(const std::string& path, const BusyDisks& is_busy,
                                              Recovered& recovered) {
  VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(path));
  VHDXM_TRY_VOID(remove_new_files(*folder, kOwnerEnding));
  VHDXM_TRY_VOID(folder->sync());
  VHDXM_TRY(const auto names, folder->list());
  for (const std::string& name : names) {
    if (!name.ends_with(kOwnerEnding)) continue;
    const std::string disk = name.substr(0, name.size() - std::string_view(kOwnerEnding).size());
    const DiskPlace place{path, disk};
    if (!is_busy || !is_busy(place)) VHDXM_TRY_VOID(recover_sidecar(place, recovered));
  }
  return {};
}

Result<OwnershipStore::Recovered> OwnershipStore::recover(const BusyDisks& is_busy) {
  Recovered recovered;
  VHDXM_TRY_VOID(recover_jobs(is_busy, recovered));
  for (const std::string& path : folders_.paths()) {
    VHDXM_TRY_VOID(recover_sidecars(path, is_busy, recovered));
  }
  VHDXM_TRY_VOID(recover_records(recovered));
  return recovered;
}

Result<Answer> OwnershipStore::answer(const Query& query) {
  Answer answer{.job = query.job};
  const auto record = job(query.job);
  if (record.has_error()) {
    answer.found = RecordFound::kUnreadable;
  } else if (*record) {
    VHDXM_TRY_VOID(state_.sync());
    answer = answer_of(**record);
  }
  for (const OwnershipId& id : query.disks) {
    DiskAnswer disk{.id = id};
    VHDXM_TRY(const auto found, find(id));
    if (found) {
      VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(found->place.folder));
      VHDXM_TRY_VOID(folder->sync());
      disk.found = RecordFound::kReadable;
      disk.sidecar = found->record;
    }
    answer.disks.push_back(disk);
  }
  return answer;
}

}  // namespace vhdxm::migration
