// How a hand-over ends, in one sentence that says who owns the disk, and as an exit code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "migration/job_record.h"

namespace vhdxm::migration {

struct HandoverEnd {
  enum class Kind : std::uint8_t {
    kDone,     ///< The destination owns, and has said so.
    kFailed,   ///< Something went wrong before the release.
    kNetwork,  ///< The connection, before the release: run it again.
    kData,     ///< The ledgers differ.
    kCancelled,
    kUnconfirmed,  ///< Released, and not known to be taken; or not known to be released.
    kReclaimed,    ///< The source took the disks back by force.
  };
  Kind kind = Kind::kFailed;
  std::string sentence = {};
};

/// The numbers of docs/man/vhdx-migrate.1: 0, 1, 5, 6, 7, 8.
int exit_code_of(HandoverEnd::Kind kind);

/// Who owns the disks of a job by the record of one of its hosts, in one sentence.
std::string owner_sentence(const JobRecord& record);
/// The same where no hand-over has begun: of disks whose files have these names, one at least.
std::string source_owns_sentence(const std::vector<std::string>& names);
/// While a commit failed: nobody knows until the next start.
std::string uncertain_sentence(const JobRecord& record);
/// The job's record is gone or cannot be read.
std::string doubt_sentence(const JobRecord& record);

/// What a person must know before forcing.
inline constexpr const char* kForceWarning =
    "If the other host is not destroyed and owns or ever serves this disk again, two copies go "
    "their own ways and one of them will be lost.";

}  // namespace vhdxm::migration
