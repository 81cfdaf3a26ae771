#include "migration/resolve.h"

#include <algorithm>

namespace vhdxm::migration {
namespace {

bool has_record(const Answer& answer, JobState state) {
  return answer.found == RecordFound::kReadable && answer.state == state;
}

// In which epoch the host that answers has owned, or owns, a disk; 0: it never has.
std::uint64_t owned_epoch(const DiskAnswer& disk) {
  if (disk.found != RecordFound::kReadable) return 0;
  switch (disk.sidecar.state) {
    case OwnershipState::kOwned:
    case OwnershipState::kHandover:
    case OwnershipState::kReleased:
      return disk.sidecar.epoch;
    case OwnershipState::kReceiving:
    case OwnershipState::kIncoming:
      break;
  }
  return 0;
}

// The destination has owned every disk in a later epoch than the source's: by its record, or by
// its sidecars once that is gone.
bool target_owned(const HandoverTerms& terms, const Answer& theirs) {
  if (has_record(theirs, JobState::kOwned)) return true;
  return !terms.disks.empty() &&
         std::all_of(terms.disks.begin(), terms.disks.end(), [&](const DiskTerms& mine) {
           return std::any_of(theirs.disks.begin(), theirs.disks.end(), [&](const DiskAnswer& d) {
             return d.id == mine.id && owned_epoch(d) > mine.epoch;
           });
         });
}

SourceMove resolve_owner(const HandoverTerms& terms, const Answer& theirs) {
  if (target_owned(terms, theirs)) return SourceMove::kYield;
  return has_record(theirs, JobState::kPrepared) ? SourceMove::kVoid : SourceMove::kKeep;
}

// A ledger of zero may have been lost with the record; the attempt is of just one set of ledgers.
bool agrees(const HandoverTerms& mine, HandoverTerms theirs) {
  if (mine.disks.size() != theirs.disks.size()) return false;
  for (std::size_t i = 0; i < mine.disks.size(); ++i) {
    if (mine.disks[i].ledger == Hash128{}) theirs.disks[i].ledger = {};
  }
  return mine == theirs;
}

SourceMove resolve_released(const HandoverTerms& terms, const Answer& theirs) {
  if (target_owned(terms, theirs)) return SourceMove::kConfirm;
  if (has_record(theirs, JobState::kPrepared) && agrees(terms, theirs.terms)) {
    return SourceMove::kRelease;
  }
  return SourceMove::kInDoubt;
}

// What this host's sidecars say of the job once its record is gone.
SourceMove resolve_without_record(const Answer& mine, const Answer& theirs) {
  HandoverTerms terms{.job = mine.job};
  bool owned = true;
  bool released = true;
  for (const DiskAnswer& disk : mine.disks) {
    if (disk.found != RecordFound::kReadable) return SourceMove::kInDoubt;
    const OwnershipRecord& sidecar = disk.sidecar;
    owned = owned && sidecar.state == OwnershipState::kOwned;
    released = released && sidecar.state == OwnershipState::kReleased && sidecar.job == mine.job;
    terms.disks.push_back({.id = disk.id, .epoch = sidecar.epoch, .ledger = sidecar.ledger});
    terms.attempt = sidecar.attempt;
    terms.source = sidecar.source;
    terms.target = sidecar.target;
  }
  if (mine.disks.empty()) return SourceMove::kInDoubt;
  if (owned) return resolve_owner(terms, theirs);
  if (released) return resolve_released(terms, theirs);
  if (target_owned(terms, theirs)) return SourceMove::kConfirm;
  // A release needs a destination that is prepared, and stays so until it owns: one that is
  // receiving has seen none. One that is prepared may have been about to see one: it must forget
  // that first, and then cannot take it any more.
  if (has_record(theirs, JobState::kReceiving)) return SourceMove::kKeep;
  if (has_record(theirs, JobState::kPrepared)) return SourceMove::kVoid;
  return SourceMove::kInDoubt;
}

// What the sidecars of the source say of a release of `attempt`, once its record is gone.
TargetMove resolve_by_sidecars(const HandoverTerms& terms, const Answer& theirs) {
  bool released = false;
  for (const DiskTerms& disk : terms.disks) {
    const auto found = std::find_if(theirs.disks.begin(), theirs.disks.end(),
                                    [&](const DiskAnswer& d) { return d.id == disk.id; });
    if (found == theirs.disks.end() || found->found != RecordFound::kReadable) {
      return TargetMove::kInDoubt;
    }
    const OwnershipRecord& sidecar = found->sidecar;
    // A job that has the disk since began when this one was over, without a release that this
    // host could still take.
    if (sidecar.job != terms.job) return TargetMove::kVoid;
    if (sidecar.state == OwnershipState::kOwned) return TargetMove::kVoid;
    if (sidecar.state != OwnershipState::kReleased || sidecar.attempt != terms.attempt ||
        sidecar.ledger != disk.ledger || sidecar.epoch != disk.epoch) {
      return TargetMove::kInDoubt;
    }
    released = true;
  }
  return released ? TargetMove::kTake : TargetMove::kInDoubt;
}

}  // namespace

SourceMove resolve_source(const Answer& mine, const Answer& theirs) {
  if (mine.found != RecordFound::kReadable) return resolve_without_record(mine, theirs);
  switch (mine.state) {
    case JobState::kActive:
      return resolve_owner(mine.terms, theirs);
    case JobState::kReclaimed: {
      // It was not destroyed after all, and may have served writes: which copy is to be lost?
      const SourceMove move = resolve_owner(mine.terms, theirs);
      return move == SourceMove::kYield ? SourceMove::kInDoubt : move;
    }
    case JobState::kReleased:
      return resolve_released(mine.terms, theirs);
    case JobState::kConfirmed:
      return SourceMove::kConfirm;
    case JobState::kReceiving:
    case JobState::kPrepared:
    case JobState::kOwned:
      break;  // It is not this host that gave the disks away.
  }
  return SourceMove::kInDoubt;
}

TargetMove resolve_target(const Answer& mine, const Answer& theirs) {
  if (!has_record(mine, JobState::kPrepared)) return TargetMove::kKeep;
  if (theirs.found == RecordFound::kUnreadable) return TargetMove::kInDoubt;
  if (theirs.found == RecordFound::kNone) return resolve_by_sidecars(mine.terms, theirs);
  switch (theirs.state) {
    case JobState::kActive:
    case JobState::kReclaimed:
      return TargetMove::kVoid;
    case JobState::kReleased:
      return theirs.terms == mine.terms ? TargetMove::kTake : TargetMove::kInDoubt;
    case JobState::kConfirmed:
    case JobState::kReceiving:
    case JobState::kPrepared:
    case JobState::kOwned:
      break;
  }
  return TargetMove::kInDoubt;
}

const char* to_string(SourceMove move) {
  switch (move) {
    case SourceMove::kKeep:
      return "keep";
    case SourceMove::kVoid:
      return "void";
    case SourceMove::kRelease:
      return "release";
    case SourceMove::kConfirm:
      return "confirm";
    case SourceMove::kYield:
      return "yield";
    case SourceMove::kInDoubt:
      return "in doubt";
  }
  return "unknown";
}

const char* to_string(TargetMove move) {
  switch (move) {
    case TargetMove::kTake:
      return "take";
    case TargetMove::kVoid:
      return "void";
    case TargetMove::kKeep:
      return "keep";
    case TargetMove::kInDoubt:
      return "in doubt";
  }
  return "unknown";
}

}  // namespace vhdxm::migration
