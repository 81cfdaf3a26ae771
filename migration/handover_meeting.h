// Two hosts meet again after a hand-over that was cut short: what each does with the other's word.
//
// The source calls (transfer/handover_call.h): it says Released, asks, or says Void, and each is a
// connection of its own. The destination answers from its records alone; what it prepared it may
// take now.
#pragma once

#include <boost/system/result.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "migration/handover_source.h"
#include "migration/handover_target.h"
#include "migration/host_ownership.h"
#include "transfer/cutover.h"
#include "transfer/errc.h"

namespace vhdxm::migration {

/// The destination: no connection of the job is alive.
struct MeetingAnswer {
  HandoverMessage message;
  /// kOwned: it took the disks just now, they have their names, and the record is to be dropped
  /// once they are seen to (OwnershipStore::drop()).
  std::optional<JobRecord> taken = std::nullopt;
};
/// `on_take`: gives the files, which are partials still, owner and mode, before they are taken.
/// Errors: of records that cannot be read or written.
Result<MeetingAnswer> answer_meeting(
    HostOwnership& host, const HandoverMessage& message,
    const std::function<Result<void>(const std::vector<DiskPlace>&)>& on_take);

/// resolve --force-owner-here --peer-destroyed at a destination: `taken` of MeetingAnswer.
/// Errors: Errc::kState unless the record is kPrepared; those above.
Result<JobRecord> take_by_force(
    HostOwnership& host, const JobRecord& record,
    const std::function<Result<void>(const std::vector<DiskPlace>&)>& on_take);

/// One word, and what the destination answers to it.
using CallFunction = std::function<boost::system::result<transfer::HandoverBody, transfer::Failure>(
    const transfer::HandoverBody&)>;
struct MeetingEnd {
  std::optional<HandoverEnd> end;            ///< Nothing: it is as unclear as before.
  std::optional<transfer::Failure> failure;  ///< Why.
  std::string owner_sentence;
};
/// The source. `record`: kReleased, or kActive of a job in doubt (`in_doubt`). Blocks.
MeetingEnd meet_destination(HostOwnership& host, const JobRecord& record, bool in_doubt,
                            const CallFunction& call);
/// resolve --force-owner-here --peer-destroyed at a source: the disks have their names again.
/// Requires: no process has their files open. Errors: Errc::kState; the records'.
Result<std::string> take_back_by_force(HostOwnership& host, const JobRecord& record, bool in_doubt);

}  // namespace vhdxm::migration
