// What the jobs of one host share of ownership: who this host is, and its records.
#pragma once

#include <mutex>

#include "migration/ownership_arbiter.h"
#include "migration/ownership_store.h"

namespace vhdxm::migration {

/// Store and arbiter are one thread's at a time: whoever uses them locks `mutex`. Lifetime: longer
/// than all jobs.
struct HostOwnership {
  HostId id;
  OwnershipStore& store;
  OwnershipArbiter& arbiter;
  std::mutex mutex = {};
};

}  // namespace vhdxm::migration
