// What the jobs of one host share of ownership: who this host is, and its records.
#pragma once

#include <mutex>
#include <string>

#include "base/result.h"
#include "migration/ownership_arbiter.h"
#include "migration/ownership_store.h"

namespace vhdxm::migration {

/// Lets one thread at a time use the records: of this process, and once share() was called, of all
/// processes of the host that share them. What is done under it is a few small files.
class OwnershipMutex {
 public:
  OwnershipMutex() = default;
  ~OwnershipMutex();
  OwnershipMutex(const OwnershipMutex&) = delete;
  OwnershipMutex& operator=(const OwnershipMutex&) = delete;

  /// By a lock of the file at `path`, which is made if it is not there. Before it is first locked.
  Result<void> share(const std::string& path);
  void lock();
  void unlock();

 private:
  std::mutex mutex_;
  int fd_ = -1;  ///< Of the file; -1: only this process.
};

/// Store and arbiter are one thread's at a time: whoever uses them locks `mutex`. Lifetime: longer
/// than all jobs.
struct HostOwnership {
  HostId id;
  OwnershipStore& store;
  OwnershipArbiter& arbiter;
  OwnershipMutex mutex = {};
};

}  // namespace vhdxm::migration
