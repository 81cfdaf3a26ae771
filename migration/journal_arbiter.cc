#include "migration/journal_arbiter.h"

#include <algorithm>

#include "base/check.h"
#include "migration/errc.h"

namespace vhdxm::migration {

void JournalArbiter::get_ready(const JobRecord& next) {
  (void)store_.foresee(next).has_error();
}

Result<void> JournalArbiter::commit(const JobRecord& released) {
  VHDXM_CHECK(released.state == JobState::kReleased);
  return store_.put(released);
}

Result<FencingToken> JournalArbiter::acquire(const JobRecord& owned) {
  VHDXM_TRY_VOID(store_.put(owned));
  VHDXM_TRY_VOID(store_.give_names(owned));
  FencingToken token{owned.new_epoch(owned.disks.front())};
  for (const JobDisk& disk : owned.disks) {
    token = std::min(token, FencingToken{owned.new_epoch(disk)});
  }
  return token;
}

Result<OwnershipArbiter::Owner> JournalArbiter::owner(const OwnershipId& disk) {
  VHDXM_TRY(const auto found, store_.find(disk));
  if (!found) return Owner{};
  Owner owner{.epoch = found->record.epoch};
  // Its own job may write while it hands the disk over.
  const auto writable = store_.check_writable(found->place, found->record.job);
  if (writable.has_value()) {
    owner.holder = Holder::kThisHost;
    return owner;
  }
  const auto job = store_.job(found->record.job);
  if (job.has_value() && *job && (*job)->state == JobState::kOwned) {
    owner.holder = Holder::kThisHost;  // Taken; the sidecar is not settled yet.
  } else if (writable.error().code == Errc::kInDoubt) {
    owner.holder = Holder::kInDoubt;
  } else {
    owner.holder = Holder::kOtherHost;
  }
  return owner;
}

}  // namespace vhdxm::migration
