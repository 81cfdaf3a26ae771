// Sidecars and job records in folders, so that a crash at any step leaves nothing that says too
// much.
//
// Every record is written to NAME.new, synced, renamed over the old one, and the folder synced. So
// a record is the old one or the new one, whole; which, is open only between the rename and the
// sync, and whoever starts makes durable what he finds before he acts on it (recover()).
//
// | operation | changes | a crash in between leaves |
// |---|---|---|
// | adopt()    | one sidecar | none, or the whole one; a disk without a sidecar is its host's |
// | begin_source(), begin_target() | the record, then sidecars | none, or the record: recover()
// goes on | | put()      | one job record | the old or the new record: this commits all disks of
// the job | | settle()   | sidecars and names, disk by disk | some of them as before; recover()
// goes on, from the record | | withdraw() | sidecars to kOwned, then the record goes | the record,
// and some done: recover() goes on | | cleanup()  | copies, sidecars, then the record | the record,
// and some gone: cleanup() again |
//
// Names: NAME.vhdx owned, NAME.vhdx.partial arriving, NAME.vhdx.released given away (no write
// bits).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "migration/handover_messages.h"
#include "migration/job_record.h"
#include "migration/ownership_files.h"
#include "migration/ownership_record.h"

namespace vhdxm::migration {

/// Thread safety: none; one thread at a time for all jobs of a host. Lifetime: of the folders.
/// Errors: the folder's; Errc::kRecord, kChecksum, kVersion of what stands there.
class OwnershipStore {
 public:
  /// `state`: the folder of job records.
  OwnershipStore(OwnershipFiles& state, OwnershipFolders& folders)
      : state_(state), folders_(folders) {}

  // Sidecars.
  Result<std::optional<OwnershipRecord>> sidecar(const DiskPlace& place);
  /// Makes this host's ownership of a disk explicit before it is first handed over: `id`, epoch 1.
  /// A sidecar that is there is returned as it is. Requires: the disk NAME is there.
  Result<OwnershipRecord> adopt(const DiskPlace& place, const OwnershipId& id);

  struct Found {
    DiskPlace place = {};
    OwnershipRecord record = {};
  };
  /// Looks through the folders that are known. Errors: none for files that cannot be read.
  Result<std::optional<Found>> find(const OwnershipId& id);

  /// May this host write to the disk, and if not, why? To be asked by every writable open.
  /// Errors: Errc::kNotOwner, kInHandover, kInDoubt, in words for a person. `job`: may as well
  /// write while it hands the disk over.
  Result<void> check_writable(const DiskPlace& place, const JobId& job = {});

  // Job records.
  Result<std::optional<JobRecord>> job(const JobId& id);
  Result<std::vector<JobId>> jobs();

  /// A job begins that may hand these disks over: each has a sidecar kOwned of that id and epoch.
  /// Errors: Errc::kNotOwner, kInHandover, kInDoubt, kEpoch. Requires: kActive.
  Result<void> begin_source(const JobRecord& record);
  /// A job begins that may take these disks: no disk has their name here; what is here of the same
  /// id was released in an older epoch, or left by a job that is over, and is adopted. What was
  /// prepared for an earlier job of the same source and epoch is one: the source, which owns the
  /// disk still, began another job because that one came to nothing. Sets moves_back where a
  /// released copy becomes the partial. Requires: kReceiving.
  /// Errors: Errc::kNameTaken, kEpoch, kInHandover, kInDoubt, kNotOwner (this host owns the disk).
  Result<void> begin_target(JobRecord& record);

  /// Replaces the job's record, durably. The commit of all that JobState means.
  Result<void> put(const JobRecord& record);
  /// What put() will be told next of this job, unless something else is: written and synced beside
  /// the record, so that put() has only to rename it. Nothing follows from it, whoever finds it.
  Result<void> foresee(const JobRecord& record);
  /// Brings sidecars, names and modes in line with a record that was put. Can be repeated.
  /// The order in a move back: sidecar kIncoming, durable, then the copy becomes the partial.
  Result<void> settle(const JobRecord& record);
  /// The part of settle() that must be done before writes are served: the disks get their names.
  /// After a power loss they may have the old ones again: the record, which is durable, says so.
  Result<void> give_names(const JobRecord& record);
  /// A source's job ended before its release: its disks are kOwned again and the record goes.
  /// Requires: kActive.
  Result<void> withdraw(const JobRecord& record);
  /// Nobody needs the record any more: the sidecars say it all. Requires: settled, kOwned or
  /// kReclaimed.
  Result<void> drop(const JobRecord& record);

  /// Removes what a job left: at the source the released copies, if the job is kConfirmed; at the
  /// destination what arrived of a job that is kReceiving. Disks that another job has since are
  /// left alone; a job without a record has left nothing. Can be repeated.
  /// Errors: Errc::kUnconfirmed (kReleased, kPrepared), kState.
  Result<void> cleanup(const JobId& id);

  // After a start.
  struct Doubt {
    DiskPlace place = {};
    std::string why = {};
  };
  struct Recovered {
    /// What stands in the state folder now, made durable and settled. kActive ones are withdrawn
    /// (their passes died with the process), kOwned and kReclaimed ones dropped: this host owns
    /// those disks.
    std::vector<JobRecord> jobs = {};
    /// Jobs of this host as a source whose record is gone or cannot be read, put together from the
    /// sidecars, as kActive: nobody writes to these disks until HandoverSource has resolved it.
    std::vector<JobRecord> doubtful_jobs = {};
    /// Disks whose sidecar cannot be read, or whose job could not be put right: nobody writes.
    std::vector<Doubt> unreadable = {};
  };
  /// Disks that a living process sees to: these, and their jobs, are left alone.
  using BusyDisks = std::function<bool(const DiskPlace&)>;
  /// Puts everything right after a crash. Can be repeated; a crash in between does no harm.
  Result<Recovered> recover(const BusyDisks& is_busy = {});

  /// For another host: what stands here. Makes it durable first.
  Result<Answer> answer(const Query& query);

  static std::string owner_name(const DiskPlace& place);
  static std::string partial_name(const DiskPlace& place);
  static std::string released_name(const DiskPlace& place);
  static std::string record_name(const JobId& job);

 private:
  Result<void> replace(OwnershipFiles& folder, const std::string& name,
                       std::span<const std::byte> bytes);
  Result<void> put_sidecar(const DiskPlace& place, const OwnershipRecord& record);
  Result<void> remove_record(const JobId& id);
  Result<void> settle_disk(const JobRecord& record, const JobDisk& disk);
  Result<bool> may_settle(const JobRecord& record, const JobDisk& disk);
  Result<void> set_names(const JobRecord& record, const JobDisk& disk);
  Result<void> sync_names(const JobDisk& disk);
  static Result<bool> rename_once(OwnershipFiles& folder, const std::string& from,
                                  const std::string& to);
  Result<bool> is_of(const JobRecord& record, const JobDisk& disk);
  Result<void> check_owned(const JobDisk& disk);
  Result<void> check_taken(const HostId& source, JobDisk& disk);
  Result<void> check_left(const JobId& id, const HostId& source, const JobDisk& disk);
  Result<void> leave(const JobId& id, const JobDisk& disk);
  Result<void> drop_if_stale(const JobId& id);
  Result<void> clean_disk(const JobRecord& record, const JobDisk& disk);
  Result<void> recover_job(const JobRecord& record, Recovered& recovered);
  Result<void> recover_jobs(const BusyDisks& is_busy, Recovered& recovered);
  Result<void> recover_sidecars(const std::string& path, const BusyDisks& is_busy,
                                Recovered& recovered);
  Result<void> recover_sidecar(const DiskPlace& place, Recovered& recovered);
  Result<void> recover_records(Recovered& recovered);

  OwnershipFiles& state_;
  OwnershipFolders& folders_;
  /// By the name of its record: what was foreseen of a job.
  std::map<std::string, std::vector<std::byte>> foreseen_;
};

}  // namespace vhdxm::migration
