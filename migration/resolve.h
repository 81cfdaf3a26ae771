// What each side does when both can be asked, for every pair of states.
//
// Pure: from what stands here and what the other side answers to what happens next. Higher epochs
// win; a release stands; a prepared destination without a release goes back; whatever cannot be
// told from the two answers stays in doubt, and nobody writes.
#pragma once

#include <cstdint>

#include "migration/handover_messages.h"
#include "migration/job_record.h"

namespace vhdxm::migration {

enum class SourceMove : std::uint8_t {
  kKeep,     ///< This host owns; the job is over, or goes on.
  kVoid,     ///< The destination is prepared, and must forget that before this host may go on.
  kRelease,  ///< Send Released (again).
  kConfirm,  ///< The destination owns: note it.
  kYield,    ///< The destination owns in a higher epoch although nothing was released here.
  kInDoubt,  ///< Only a person can say.
};
/// `mine`: OwnershipStore::answer() of this host, the source of the job; `theirs`: the
/// destination's.
SourceMove resolve_source(const Answer& mine, const Answer& theirs);

enum class TargetMove : std::uint8_t {
  kTake,     ///< The source released exactly this: take it.
  kVoid,     ///< The source owns: forget the attempt.
  kKeep,     ///< Nothing to do: receiving, or owner.
  kInDoubt,  ///< Only a person can say.
};
TargetMove resolve_target(const Answer& mine, const Answer& theirs);

const char* to_string(SourceMove move);
const char* to_string(TargetMove move);

}  // namespace vhdxm::migration
