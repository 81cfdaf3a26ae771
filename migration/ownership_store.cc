#include "migration/ownership_store.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "migration/errc.h"
#include "transfer/released_copy.h"

namespace vhdxm::migration {
namespace {

// What a sidecar says when a record is settled.
OwnershipRecord sidecar_of(const JobRecord& record, const JobDisk& disk) {
  OwnershipRecord sidecar{.id = disk.terms.id,
                          .epoch = disk.terms.epoch,
                          .job = record.job,
                          .attempt = record.attempt,
                          .source = record.source,
                          .target = record.target,
                          .ledger = disk.terms.ledger};
  switch (record.state) {
    case JobState::kActive:
      sidecar.state = OwnershipState::kHandover;
      break;
    case JobState::kReleased:
    case JobState::kConfirmed:
      sidecar.state = OwnershipState::kReleased;
      break;
    case JobState::kReceiving:
    case JobState::kPrepared:
      // Without the attempt: it would have to be written in the guest's pause.
      sidecar.state = disk.moves_back ? OwnershipState::kIncoming : OwnershipState::kReceiving;
      sidecar.epoch = record.new_epoch(disk);
      sidecar.attempt = {};
      sidecar.ledger = {};
      break;
    case JobState::kReclaimed:
    case JobState::kOwned:
      sidecar.state = OwnershipState::kOwned;
      sidecar.epoch = record.new_epoch(disk);
      break;
  }
  return sidecar;
}

bool has_place(const JobRecord& record, const DiskPlace& place) {
  return std::any_of(record.disks.begin(), record.disks.end(),
                     [&](const JobDisk& disk) { return disk.place == place; });
}

bool is_arriving(OwnershipState state) {
  return state == OwnershipState::kReceiving || state == OwnershipState::kIncoming;
}

// This host has become, or becomes again, the owner.
bool gains_disks(JobState state) {
  return state == JobState::kOwned || state == JobState::kReclaimed;
}

// How a disk's file is called when a record is settled; empty: as before.
struct Renaming {
  std::string from = {};
  std::string to = {};
  std::optional<bool> read_only = {};
};

Renaming renaming_of(const JobRecord& record, const JobDisk& disk) {
  const DiskPlace& place = disk.place;
  const std::string released = OwnershipStore::released_name(place);
  const std::string partial = OwnershipStore::partial_name(place);
  switch (record.state) {
    case JobState::kActive:
      break;
    case JobState::kReleased:
    case JobState::kConfirmed:
      return {.from = place.name, .to = released, .read_only = true};
    case JobState::kReclaimed:
      return {.from = released, .to = place.name, .read_only = false};
    case JobState::kReceiving:
    case JobState::kPrepared:
      if (disk.moves_back) return {.from = released, .to = partial, .read_only = false};
      break;
    case JobState::kOwned:
      return {.from = partial, .to = place.name};
  }
  return {};
}

Error refusal(Errc errc, const char* where, const DiskPlace& place) {
  return Error{.code = errc, .where = where, .subject = place.folder + "/" + place.name};
}

}  // namespace

std::string OwnershipStore::owner_name(const DiskPlace& place) {
  return place.name + kOwnerEnding;
}
std::string OwnershipStore::partial_name(const DiskPlace& place) {
  return place.name + ".partial";
}
std::string OwnershipStore::released_name(const DiskPlace& place) {
  return place.name + std::string(transfer::kReleasedEnding);
}
std::string OwnershipStore::record_name(const JobId& job) {
  return transfer::hex_of(job) + kJobRecordEnding;
}

Result<void> OwnershipStore::replace(OwnershipFiles& folder, const std::string& name,
                                     std::span<const std::byte> bytes) {
  const std::string temporary = name + kNewEnding;
  VHDXM_TRY_VOID(folder.write(temporary, bytes));
  VHDXM_TRY_VOID(folder.rename_replacing(temporary, name));
  return folder.sync();
}

Result<std::optional<OwnershipRecord>> OwnershipStore::sidecar(const DiskPlace& place) {
  VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(place.folder));
  VHDXM_TRY(const auto bytes, folder->read(owner_name(place), kOwnershipRecordBytes));
  if (!bytes) return std::optional<OwnershipRecord>();
  auto record = decode_ownership(*bytes);
  if (record.has_error()) {
    return std::move(record).error().about(place.folder + "/" + owner_name(place));
  }
  return std::optional(*record);
}

Result<void> OwnershipStore::put_sidecar(const DiskPlace& place, const OwnershipRecord& record) {
  VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(place.folder));
  VHDXM_TRY(const auto before, sidecar(place));
  // It may have been written by a process that died before it was durable.
  if (before == record) return folder->sync();
  return replace(*folder, owner_name(place), encode(record));
}

Result<OwnershipRecord> OwnershipStore::adopt(const DiskPlace& place, const OwnershipId& id) {
  VHDXM_CHECK(!id.is_zero());
  VHDXM_TRY(const auto before, sidecar(place));
  if (before) return *before;
  VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(place.folder));
  VHDXM_TRY(const bool there, folder->exists(place.name));
  if (!there) return refusal(Errc::kNotOwner, "there is no such disk", place);
  const OwnershipRecord record{.id = id, .epoch = 1, .state = OwnershipState::kOwned};
  VHDXM_TRY_VOID(put_sidecar(place, record));
  return record;
}

Result<std::optional<OwnershipStore::Found>> OwnershipStore::find(const OwnershipId& id) {
  for (const std::string& path : folders_.paths()) {
    VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(path));
    VHDXM_TRY(const auto names, folder->list());
    for (const std::string& name : names) {
      if (!name.ends_with(kOwnerEnding)) continue;
      const DiskPlace place{path, name.substr(0, name.size() - std::string(kOwnerEnding).size())};
      const auto record = sidecar(place);
      if (record.has_value() && *record && (*record)->id == id) {
        return std::optional(Found{place, **record});
      }
    }
  }
  return std::optional<Found>();
}

Result<void> OwnershipStore::check_writable(const DiskPlace& place, const JobId& id) {
  const auto record = sidecar(place);
  if (record.has_error()) {
    return refusal(Errc::kInDoubt, "its owner record cannot be read", place);
  }
  if (!*record || (*record)->state == OwnershipState::kOwned) return {};
  if ((*record)->state == OwnershipState::kReleased) {
    return refusal(Errc::kNotOwner, "it was released to another host", place);
  }
  if (is_arriving((*record)->state)) {
    return refusal(Errc::kNotOwner, "it has not arrived completely", place);
  }
  const auto decided = job((*record)->job);
  if (decided.has_error() || !*decided) {
    return refusal(Errc::kInDoubt, "the record of the job that was handing it over is gone", place);
  }
  if ((*decided)->state != JobState::kActive) {
    return refusal(Errc::kNotOwner, "it was released to another host", place);
  }
  if ((*decided)->job == id) return {};
  return refusal(Errc::kInHandover, "a job is handing it over", place);
}

Result<std::optional<JobRecord>> OwnershipStore::job(const JobId& id) {
  const std::string name = record_name(id);
  VHDXM_TRY(const auto bytes, state_.read(name, kJobRecordBytesMax));
  if (!bytes) return std::optional<JobRecord>();
  auto record = decode_job(*bytes);
  if (record.has_error()) return std::move(record).error().about(name);
  if (record->job != id) {
    return Error{.code = Errc::kRecord, .where = "it is another job's", .subject = name};
  }
  return std::optional(std::move(*record));
}

Result<void> OwnershipStore::put(const JobRecord& record) {
  VHDXM_CHECK(!record.disks.empty() && record.disks.size() <= kJobDisksMax);
  const std::string name = record_name(record.job);
  const std::vector<std::byte> bytes = encode(record);
  const auto foreseen = foreseen_.extract(name);
  if (!foreseen.empty() && foreseen.mapped() == bytes) {
    // Another process of this host may have cleared it away, as what a crash left.
    const auto there = state_.read(name + kNewEnding, bytes.size());
    if (there.has_value() && *there == bytes) {
      VHDXM_TRY_VOID(state_.rename_replacing(name + kNewEnding, name));
      return state_.sync();
    }
  }
  return replace(state_, name, bytes);
}

Result<void> OwnershipStore::foresee(const JobRecord& record) {
  const std::string name = record_name(record.job);
  std::vector<std::byte> bytes = encode(record);
  const auto before = foreseen_.find(name);
  if (before != foreseen_.end() && before->second == bytes) return {};
  foreseen_.erase(name);
  VHDXM_TRY_VOID(state_.write(name + kNewEnding, bytes));
  foreseen_.emplace(name, std::move(bytes));
  return {};
}

Result<void> OwnershipStore::remove_record(const JobId& id) {
  if (foreseen_.erase(record_name(id)) > 0) {
    VHDXM_TRY_VOID(state_.remove(record_name(id) + kNewEnding));
  }
  VHDXM_TRY_VOID(state_.remove(record_name(id)));
  return state_.sync();
}

// A source.

Result<void> OwnershipStore::check_owned(const JobDisk& disk) {
  VHDXM_TRY_VOID(check_writable(disk.place));
  VHDXM_TRY(const auto record, sidecar(disk.place));
  if (!record || record->id != disk.terms.id) {
    return refusal(Errc::kNotOwner, "its owner record is another disk's", disk.place);
  }
  if (record->epoch == disk.terms.epoch) return {};
  Error error = refusal(Errc::kEpoch, "epoch", disk.place);
  error.found = record->epoch;
  error.expected = disk.terms.epoch;
  return error;
}

Result<void> OwnershipStore::begin_source(const JobRecord& record) {
  VHDXM_CHECK(record.state == JobState::kActive);
  for (const JobDisk& disk : record.disks) VHDXM_TRY_VOID(check_owned(disk));
  VHDXM_TRY_VOID(put(record));
  return settle(record);
}

Result<void> OwnershipStore::withdraw(const JobRecord& record) {
  VHDXM_CHECK(record.state == JobState::kActive);
  for (const JobDisk& disk : record.disks) {
    VHDXM_TRY(const bool ours, is_of(record, disk));
    if (!ours) {
      // It may have been given back by a process that died before that was durable.
      VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(disk.place.folder));
      VHDXM_TRY_VOID(folder->sync());
      continue;
    }
    VHDXM_TRY_VOID(put_sidecar(
        disk.place,
        {.id = disk.terms.id, .epoch = disk.terms.epoch, .state = OwnershipState::kOwned}));
  }
  return remove_record(record.job);
}

// A destination.

// What an earlier job left may be adopted, unless that job may yet make an owner of this host.
Result<void> OwnershipStore::check_left(const JobId& id, const HostId& source,
                                        const JobDisk& disk) {
  const auto left = job(id);
  const std::string name = record_name(id);
  if (left.has_error()) {
    return Error{.code = Errc::kInDoubt, .where = "the record of a job", .subject = name};
  }
  if (!*left || (*left)->state == JobState::kReceiving) return {};
  // A source has a disk in one job at a time, and in this epoch only until it is released.
  const bool void_by_now =
      (*left)->state == JobState::kPrepared && (*left)->source == source &&
      std::any_of((*left)->disks.begin(), (*left)->disks.end(), [&](const JobDisk& earlier) {
        return earlier.terms.id == disk.terms.id && earlier.terms.epoch <= disk.terms.epoch;
      });
  if (void_by_now) return {};
  return Error{.code = Errc::kInHandover, .where = "a job has the disk already", .subject = name};
}

Result<void> OwnershipStore::check_taken(const HostId& source, JobDisk& disk) {
  const DiskPlace& place = disk.place;
  VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(place.folder));
  disk.moves_back = false;
  const auto before = sidecar(place);
  if (before.has_error()) {
    return refusal(Errc::kInDoubt, "an owner record that cannot be read is in the way", place);
  }
  if (!*before) {
    VHDXM_TRY(const bool taken, folder->exists(place.name));
    if (taken) return refusal(Errc::kNameTaken, "a disk has this name", place);
    return {};
  }
  const OwnershipRecord& found = **before;
  if (found.id != disk.terms.id) return refusal(Errc::kNameTaken, "a disk has this name", place);
  if (found.state == OwnershipState::kOwned) {
    return refusal(Errc::kNotOwner, "the source gives what this host owns", place);
  }
  if (found.state == OwnershipState::kHandover) {
    return refusal(Errc::kInHandover, "this host is giving the disk away itself", place);
  }
  VHDXM_TRY(const bool taken, folder->exists(place.name));
  if (taken) return refusal(Errc::kNameTaken, "a disk has this name", place);
  // What was released in e is taken from whoever owns e + 1 or later.
  const std::uint64_t epoch_min = found.epoch + (found.state == OwnershipState::kReleased ? 1 : 0);
  if (disk.terms.epoch + (is_arriving(found.state) ? 1 : 0) < epoch_min) {
    Error error = refusal(Errc::kEpoch, "epoch of the source", place);
    error.found = disk.terms.epoch;
    error.expected = epoch_min;
    return error;
  }
  if (is_arriving(found.state)) {
    VHDXM_TRY_VOID(check_left(found.job, source, disk));
  }
  // Also where an earlier job that was to adopt the copy did not come so far.
  VHDXM_TRY(disk.moves_back, folder->exists(released_name(place)));
  return {};
}

// The record of a job that is over forgets a disk that another job goes on with.
Result<void> OwnershipStore::leave(const JobId& id, const JobDisk& disk) {
  VHDXM_TRY(auto left, job(id));
  if (!left || (left->state != JobState::kReceiving && left->state != JobState::kPrepared)) {
    return {};
  }
  // All of it is void: see check_left().
  left->state = JobState::kReceiving;
  left->attempt = {};
  for (JobDisk& one : left->disks) one.terms.ledger = {};
  std::erase_if(left->disks, [&](const JobDisk& d) { return d.place == disk.place; });
  return left->disks.empty() ? remove_record(id) : put(*left);
}

Result<void> OwnershipStore::begin_target(JobRecord& record) {
  VHDXM_CHECK(record.state == JobState::kReceiving);
  std::vector<JobId> released;
  for (JobDisk& disk : record.disks) VHDXM_TRY_VOID(check_taken(record.source, disk));
  for (const JobDisk& disk : record.disks) {
    VHDXM_TRY(const auto before, sidecar(disk.place));
    if (!before || before->job == record.job) continue;
    if (is_arriving(before->state)) {
      VHDXM_TRY_VOID(leave(before->job, disk));
    } else {
      released.push_back(before->job);
    }
  }
  VHDXM_TRY_VOID(put(record));
  VHDXM_TRY_VOID(settle(record));
  for (const JobId& id : released) VHDXM_TRY_VOID(drop_if_stale(id));
  return {};
}

// What follows from a record.

Result<bool> OwnershipStore::is_of(const JobRecord& record, const JobDisk& disk) {
  VHDXM_TRY(const auto before, sidecar(disk.place));
  return before && before->id == disk.terms.id && before->job == record.job;
}

// A record that is older than what is there changes nothing.
Result<bool> OwnershipStore::may_settle(const JobRecord& record, const JobDisk& disk) {
  VHDXM_TRY(const auto before, sidecar(disk.place));
  if (!before) return !is_of_source(record.state);
  if (before->id != disk.terms.id) return false;
  if (before->job == record.job) return true;
  if (is_of_source(record.state)) {
    return record.state == JobState::kActive && before->state == OwnershipState::kOwned &&
           before->epoch == disk.terms.epoch;
  }
  if (before->state == OwnershipState::kReleased) return before->epoch <= disk.terms.epoch;
  if (!is_arriving(before->state)) return false;
  VHDXM_TRY(const auto other, job(before->job));
  return !other || !has_place(*other, disk.place);  // It was left: see leave().
}

// False: neither is there.
Result<bool> OwnershipStore::rename_once(OwnershipFiles& folder, const std::string& from,
                                         const std::string& to) {
  VHDXM_TRY(const bool there, folder.exists(from));
  if (!there) return folder.exists(to);
  VHDXM_TRY_VOID(folder.rename_no_replace(from, to));
  return true;
}

Result<void> OwnershipStore::set_names(const JobRecord& record, const JobDisk& disk) {
  VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(disk.place.folder));
  const Renaming renaming = renaming_of(record, disk);
  if (renaming.from.empty()) return {};
  VHDXM_TRY(const bool there, rename_once(*folder, renaming.from, renaming.to));
  // A copy that nobody needs may have been removed; a disk that this host gets may not.
  if (!there && gains_disks(record.state)) {
    return Error{.code = make_error_code(boost::system::errc::no_such_file_or_directory),
                 .where = "the disk that this host takes",
                 .subject = disk.place.folder + "/" + renaming.from};
  }
  if (there && renaming.read_only) {
    VHDXM_TRY_VOID(folder->set_read_only(renaming.to, *renaming.read_only));
  }
  return {};
}

Result<void> OwnershipStore::sync_names(const JobDisk& disk) {
  VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(disk.place.folder));
  return folder->sync();
}

Result<void> OwnershipStore::settle_disk(const JobRecord& record, const JobDisk& disk) {
  VHDXM_TRY(const bool may, may_settle(record, disk));
  if (!may) return {};
  // Whoever gets the disk has it under its name before the sidecar says so; whoever gives it away,
  // or adopts what was given away, has said so before the name changes.
  const bool gains = gains_disks(record.state);
  const auto name = [&]() -> Result<void> {
    VHDXM_TRY_VOID(set_names(record, disk));
    return sync_names(disk);
  };
  if (gains) VHDXM_TRY_VOID(name());
  VHDXM_TRY_VOID(put_sidecar(disk.place, sidecar_of(record, disk)));
  return gains ? Result<void>{} : name();
}

Result<void> OwnershipStore::settle(const JobRecord& record) {
  for (const JobDisk& disk : record.disks) VHDXM_TRY_VOID(settle_disk(record, disk));
  return {};
}

Result<void> OwnershipStore::give_names(const JobRecord& record) {
  VHDXM_CHECK(gains_disks(record.state));
  for (const JobDisk& disk : record.disks) {
    VHDXM_TRY(const bool may, may_settle(record, disk));
    if (may) VHDXM_TRY_VOID(set_names(record, disk));
  }
  return {};
}

Result<void> OwnershipStore::drop(const JobRecord& record) {
  VHDXM_CHECK(gains_disks(record.state));
  return remove_record(record.job);
}

// Cleaning up.

Result<void> OwnershipStore::drop_if_stale(const JobId& id) {
  VHDXM_TRY(const auto record, job(id));
  if (!record) return {};
  const bool can_be = record->state == JobState::kReleased ||
                      record->state == JobState::kConfirmed ||
                      record->state == JobState::kReceiving;
  if (!can_be) return {};
  for (const JobDisk& disk : record->disks) {
    VHDXM_TRY(const auto now, sidecar(disk.place));
    // cleanup() removes sidecars last.
    const bool gone = !now && record->state == JobState::kConfirmed;
    if (!gone && (!now || now->job == id)) return {};
  }
  return remove_record(id);
}

Result<void> OwnershipStore::clean_disk(const JobRecord& record, const JobDisk& disk) {
  VHDXM_TRY(const bool ours, is_of(record, disk));
  if (!ours) return {};
  VHDXM_TRY(OwnershipFiles* const folder, folders_.folder(disk.place.folder));
  const bool released = record.state == JobState::kConfirmed;
  VHDXM_TRY_VOID(folder->remove(released ? released_name(disk.place) : partial_name(disk.place)));
  VHDXM_TRY_VOID(folder->sync());
  VHDXM_TRY_VOID(folder->remove(owner_name(disk.place)));
  return folder->sync();
}

Result<void> OwnershipStore::cleanup(const JobId& id) {
  VHDXM_TRY(const auto record, job(id));
  if (!record) return {};
  switch (record->state) {
    case JobState::kReleased:
    case JobState::kPrepared:
      return Error{.code = Errc::kUnconfirmed, .where = "cleanup", .subject = record_name(id)};
    case JobState::kActive:
    case JobState::kOwned:
    case JobState::kReclaimed:
      return Error{.code = Errc::kState, .where = "cleanup", .subject = record_name(id)};
    case JobState::kConfirmed:
    case JobState::kReceiving:
      break;
  }
  // The names first: a copy that was not renamed yet is the job's all the same.
  VHDXM_TRY_VOID(settle(*record));
  for (const JobDisk& disk : record->disks) VHDXM_TRY_VOID(clean_disk(*record, disk));
  return remove_record(id);
}

}  // namespace vhdxm::migration
