// Who decides that a disk's ownership passed from one host to the other.
//
// The journals of the two hosts are the embedded default (migration/journal_arbiter.h). A
// cluster's store, such as etcd, can come behind the same interface: one key a disk with its owner
// and epoch, commit() a transaction of compare-and-swaps over all disks of a job, the revision the
// token.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "migration/handover_terms.h"
#include "migration/job_record.h"

namespace vhdxm::migration {

/// Grows with each owner. Storage that is shared refuses whoever shows an older one; a lease alone
/// is no mutual exclusion.
struct FencingToken {
  std::uint64_t value = 0;
  friend auto operator<=>(const FencingToken&, const FencingToken&) = default;
};

/// Thread safety: none; one thread at a time. All members may block.
class OwnershipArbiter {
 public:
  virtual ~OwnershipArbiter() = default;

  /// What commit() or acquire() will be asked next, unless something comes between: what of that
  /// takes time and says nothing yet may be done now. What goes wrong with it shows then.
  virtual void get_ready(const JobRecord& /*next*/) {}

  /// The source: from now on it owns these disks in epoch e no more; the destination may have
  /// e + 1. The commit point, of all disks at once. `released`: kReleased.
  /// Errors: whatever kept it from being certain. It may have happened all the same: then nobody
  /// may be served until that is known.
  virtual Result<void> commit(const JobRecord& released) = 0;

  /// The destination, after the source committed (or by force): it owns the disks, durably, and
  /// they have their names. `owned`: kOwned, or kReclaimed at a source that takes its disks back.
  virtual Result<FencingToken> acquire(const JobRecord& owned) = 0;

  enum class Holder : std::uint8_t {
    kThisHost,
    kOtherHost,  ///< Or nobody, while a release is not taken.
    kInDoubt,
    kUnknown,  ///< Nothing is known of such a disk.
  };
  struct Owner {
    Holder holder = Holder::kUnknown;
    std::uint64_t epoch = 0;  ///< In which it is this host's, or was last.
  };
  virtual Result<Owner> owner(const OwnershipId& disk) = 0;
};

}  // namespace vhdxm::migration
