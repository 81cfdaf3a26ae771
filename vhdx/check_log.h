// Checks the entries of a log that has to be replayed, beyond what decides whether they are valid.
#pragma once

#include "base/file.h"
#include "vhdx/finding_list.h"
#include "vhdx/header.h"

namespace vhdxm::vhdx {

/// Requires: the log that `header` names can be replayed. Errors: of reading the file.
Result<void> check_log_entries(File& file, const Header& header, FindingList& findings);

}  // namespace vhdxm::vhdx
