// Jobs and hosts that several tests use.
#pragma once

#include <string>
#include <vector>

#include "migration/job_record.h"

namespace vhdxm::migration {

template <class Id>
Id sample_id(std::uint8_t byte) {
  Id id;
  id.bytes.fill(byte);
  return id;
}

inline JobId sample_job_id(std::uint8_t byte = 0x77) {
  JobId id;
  id.fill(byte);
  return id;
}

inline const HostId kSourceHost = sample_id<HostId>(0xa0);
inline const HostId kTargetHost = sample_id<HostId>(0xb0);

/// Disks "d0.vhdx", ... in the folder "disks", of epoch 1.
inline JobRecord sample_job(JobState state, std::size_t disks = 2) {
  JobRecord record{
      .state = state, .job = sample_job_id(), .source = kSourceHost, .target = kTargetHost};
  for (std::size_t i = 0; i < disks; ++i) {
    record.disks.push_back(
        {.terms = {.id = sample_id<OwnershipId>(static_cast<std::uint8_t>(0x10 + i)), .epoch = 1},
         .place = {"disks", "d" + std::to_string(i) + ".vhdx"}});
  }
  if (state == JobState::kActive || state == JobState::kReceiving) return record;
  record.attempt = sample_id<AttemptId>(0x55);
  for (std::size_t i = 0; i < disks; ++i) record.disks[i].terms.ledger = {100 + i, 200 + i};
  return record;
}

}  // namespace vhdxm::migration
