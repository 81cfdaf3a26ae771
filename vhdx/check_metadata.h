// Checks the metadata table and every item that the format knows.
#pragma once

#include <optional>

#include "base/file.h"
#include "vhdx/description.h"
#include "vhdx/finding_list.h"
#include "vhdx/region_table.h"

namespace vhdxm::vhdx {

/// Returns the geometry if all that makes it up is there and valid.
/// Errors: of reading the file.
Result<std::optional<Geometry>> check_metadata(File& file, const Region& region,
                                               FindingList& findings);

}  // namespace vhdxm::vhdx
