// Checks every entry of the BAT, that no two objects share a place, and the sector bitmaps.
#pragma once

#include <cstdint>

#include "base/file.h"
#include "vhdx/description.h"
#include "vhdx/finding_list.h"
#include "vhdx/region_table.h"
#include "vhdx/space_map.h"

namespace vhdxm::vhdx {

/// `space` holds the header section, the log and the regions; blocks are added to it.
/// Errors: of reading the file.
Result<void> check_bat(File& file, const Region& region, const Geometry& geometry, SpaceMap& space,
                       FindingList& findings);

}  // namespace vhdxm::vhdx
