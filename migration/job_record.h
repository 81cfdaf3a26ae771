// What a host has written down of a job that hands disks over: one small file in the state folder.
//
// Replacing it is what commits: all disks of the job change hands with one rename. Sidecars and the
// disks' names follow from it, and are put right again at each start.
//
//   source       kActive -> kReleased -> kConfirmed            (kReclaimed by force)
//   destination  kReceiving <-> kPrepared -> kOwned
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
enum class JobState : std::uint8_t {
  // At the source.
  kActive = 1,     ///< It owns the disks; the job has not released them.
  kReleased = 2,   ///< The commit point has passed: it owns them no more.
  kConfirmed = 3,  ///< The destination has said that it owns them: cleanup may remove the copies.
  kReclaimed = 4,  ///< Taken back by force, because the destination is destroyed: epoch e + 2.
  // At the destination.
  kReceiving = 5,  ///< Never promotable.
  kPrepared = 6,   ///< All that `attempt` needs is durable here: the release of it makes an owner.
  kOwned = 7,      ///< It owns the disks.
};
bool is_of_source(JobState state);
const char* to_string(JobState state);

/// Where a disk of the job is at this host; its name may be another one at the other side.
struct DiskPlace {
  std::string folder = {};  ///< As OwnershipFolders knows it.
  std::string name = {};    ///< As owned: "web01.vhdx". A plain name of at most 240 bytes.

  friend auto operator<=>(const DiskPlace&, const DiskPlace&) = default;
};

struct JobDisk {
  DiskTerms terms = {};
  DiskPlace place = {};
  /// At the destination: this host released it earlier, and the copy is adopted.
  bool moves_back = false;

  friend bool operator==(const JobDisk&, const JobDisk&) = default;
};

struct JobRecord {
  JobState state = JobState::kActive;
  JobId job{};  ///< Not zero.
  /// The one that was agreed. Zero in kActive and kReceiving; may be zero where force was used
  /// (kConfirmed, kReclaimed).
  AttemptId attempt = {};
  HostId source = {};
  HostId target = {};
  /// The destination took the disks without a release (kOwned only): they are in epoch e + 2.
  bool forced = false;
  std::vector<JobDisk> disks = {};  ///< At least one, at most kJobDisksMax; ids and places differ.
  /// Of a destination: in which the disks are at the source, as is_disk_name(); empty: in none.
  std::string group = {};

  friend bool operator==(const JobRecord&, const JobRecord&) = default;
  HandoverTerms terms() const;
  /// What a host that took or takes the disks owns: e + 1, or e + 2 by force.
  std::uint64_t new_epoch(const JobDisk& disk) const;
};

inline constexpr std::size_t kJobDisksMax = 1024;
inline constexpr std::size_t kJobRecordBytesMax = 8 * 1024 * 1024;
inline constexpr const char* kJobRecordEnding = ".handover";

std::vector<std::byte> encode(const JobRecord& record);
/// Errors: Errc::kRecord, kChecksum, kVersion, naming what is wrong.
Result<JobRecord> decode_job(std::span<const std::byte> bytes);

}  // namespace vhdxm::migration
