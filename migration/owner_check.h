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

}  // namespace vhdxm::migration
