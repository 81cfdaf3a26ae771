// What the two ends of a hand-over say to each other, on a control connection that is
// authenticated.
//
//   source > target   Prepare, Void, Released
//   target > source   Prepared, PrepareRefused, Voided, Owned
//   either            Query, Answer
//
// Every message may come late, twice or never; none may come that was sent on an earlier
// connection. Plain structs: how they stand on the wire is the protocol's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "migration/handover_terms.h"
#include "migration/job_record.h"
#include "migration/ownership_record.h"

namespace vhdxm::migration {

/// Source: the guest stands still or the gate is held, everything is written there, these are the
/// ledgers. The destination makes it durable and answers with Prepared or PrepareRefused.
struct Prepare {
  /// Counts the attempts of a connection from 1: an older one that arrives late is not taken.
  std::uint64_t number = 0;
  HandoverTerms terms = {};
};
/// Target: these very terms are durable here.
struct Prepared {
  HandoverTerms terms = {};
};
/// Target: it cannot; it is receiving as before.
struct PrepareRefused {
  JobId job{};
  AttemptId attempt = {};
  std::string reason = {};
};
/// Source: this attempt, and all before it, will never be released.
struct Void {
  JobId job{};
  std::uint64_t number = 0;
  AttemptId attempt = {};
};
/// Target: it has forgotten the attempt, durably, and takes data again.
struct Voided {
  JobId job{};
  AttemptId attempt = {};
};
/// Source: the commit point has passed.
struct Released {
  HandoverTerms terms = {};
};
struct OwnedDisk {
  OwnershipId id = {};
  std::uint64_t epoch = 0;

  friend bool operator==(const OwnedDisk&, const OwnedDisk&) = default;
};
/// Target: it owns these disks, durably.
struct Owned {
  JobId job{};
  std::vector<OwnedDisk> disks = {};
};
/// What does your record say of this job, and your sidecars of these disks?
struct Query {
  JobId job{};
  std::vector<OwnershipId> disks = {};
};
enum class RecordFound : std::uint8_t {
  kNone = 0,
  kReadable = 1,
  kUnreadable = 2,  ///< There is one, and it cannot be read.
};
struct DiskAnswer {
  OwnershipId id = {};
  RecordFound found = RecordFound::kNone;  ///< Of the sidecar; kReadable: `sidecar` has its id.
  OwnershipRecord sidecar = {};

  friend bool operator==(const DiskAnswer&, const DiskAnswer&) = default;
};
struct Answer {
  JobId job{};
  RecordFound found = RecordFound::kNone;  ///< Of the job's record; kReadable: state and terms.
  JobState state = JobState::kActive;
  HandoverTerms terms = {};
  /// Of a source: attempts of this connection up to this number will never be released, unless
  /// `state` says so. An answer that comes late says nothing of later ones.
  std::uint64_t number = 0;
  std::vector<DiskAnswer> disks = {};  ///< Of the query, in its order.

  friend bool operator==(const Answer&, const Answer&) = default;
};

using HandoverMessage =
    std::variant<Prepare, Prepared, PrepareRefused, Void, Voided, Released, Owned, Query, Answer>;

/// What a host asks of a job that it has this record of.
Query query_about(const JobRecord& record);
/// What a host says of a job that it has this record of; without sidecars.
Answer answer_of(const JobRecord& record);

/// The job that a message is about.
const JobId& job_of(const HandoverMessage& message);
/// For traces: "Prepare", "Released", ...
const char* name_of(const HandoverMessage& message);

}  // namespace vhdxm::migration
