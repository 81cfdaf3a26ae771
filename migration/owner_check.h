// Whether a disk's owner record lets this host write to it, for programs without the host's
// records.
#pragma once

#include <string>

#include "base/result.h"

namespace vhdxm::migration {

/// To be asked before a program other than the host's service opens the disk at `path` for writing.
/// Also of NAME.vhdx.partial and NAME.vhdx.released. A disk without an owner record is its host's.
/// Errors: Errc::kNotOwner; Errc::kInHandover, also of a job that a crash has ended: the service
/// puts that right; Errc::kInDoubt for a record that cannot be read; the system's.
Result<void> check_owner_record(const std::string& path);

/// The same for a disk that has just arrived, and may be served before its owner record says so:
/// the record of its job, in the service's `state_folder`, says that this host owns it, and the
/// disk has its name. To be asked before a mover of the service opens it.
Result<void> check_taken_record(const std::string& path, const std::string& state_folder);

}  // namespace vhdxm::migration
