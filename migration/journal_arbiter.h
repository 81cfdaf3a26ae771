// The arbiter that needs no third party: the job records of the two hosts.
#pragma once

#include "migration/ownership_arbiter.h"
#include "migration/ownership_store.h"

namespace vhdxm::migration {

/// The token is the lowest epoch among the job's disks. Lifetime: of the store.
class JournalArbiter final : public OwnershipArbiter {
 public:
  explicit JournalArbiter(OwnershipStore& store) : store_(store) {}

  void get_ready(const JobRecord& next) override;
  Result<void> commit(const JobRecord& released) override;
  Result<FencingToken> acquire(const JobRecord& owned) override;
  Result<Owner> owner(const OwnershipId& disk) override;

 private:
  OwnershipStore& store_;
};

}  // namespace vhdxm::migration
