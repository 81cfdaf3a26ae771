// Who owns a disk, as it stands beside the disk: NAME.vhdx.owner.
//
// A disk without such a file has never been handed over: it is its host's. A file that cannot be
// read leaves the disk in doubt, and nobody writes to it. A job that moves several disks commits
// with one record of its own (migration/job_record.h); while a sidecar says kHandover, kReceiving
// or kIncoming, that record decides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "migration/handover_terms.h"

namespace vhdxm::migration {

/// The numbers stand in files and messages and are never changed.
enum class OwnershipState : std::uint8_t {
  /// This host owns the disk in `epoch`: it may write, and begin to hand it over.
  kOwned = 1,
  /// It owned `epoch` when `job` began to hand it over; the job's record says whether it still
  /// does.
  /// Without that record the disk is in doubt: nobody writes until it is resolved.
  kHandover = 2,
  /// Another host owns it. NAME.vhdx.released is kept until that host has confirmed it; nobody
  /// writes to it. A job that moves the disk back may adopt it.
  kReleased = 3,
  /// It arrives by `job` as NAME.vhdx.partial; `epoch` is the one this host will own. Only the job
  /// writes to it, and only its record makes this host the owner. Without that record it is what a
  /// job left: cleanup may remove it, a later job may adopt it.
  kReceiving = 4,
  /// As kReceiving, of a disk that was released here and moves back: the copy that was released is
  /// the partial.
  kIncoming = 5,
};

const char* to_string(OwnershipState state);

struct OwnershipRecord {
  OwnershipId id = {};  ///< Not zero.
  std::uint64_t epoch = 0;
  OwnershipState state = OwnershipState::kOwned;
  // Of the last hand-over; all zero of a disk that has not seen one.
  JobId job{};
  AttemptId attempt = {};
  HostId source = {};
  HostId target = {};
  Hash128 ledger = {};

  friend bool operator==(const OwnershipRecord&, const OwnershipRecord&) = default;
};

inline constexpr std::size_t kOwnershipRecordBytes = 128;
inline constexpr const char* kOwnerEnding = ".owner";
/// Of a record that is being written.
inline constexpr const char* kNewEnding = ".new";

std::vector<std::byte> encode(const OwnershipRecord& record);
/// Errors: Errc::kRecord, kChecksum, kVersion, naming what is wrong.
Result<OwnershipRecord> decode_ownership(std::span<const std::byte> bytes);

}  // namespace vhdxm::migration
