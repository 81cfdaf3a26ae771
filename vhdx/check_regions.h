// Checks both copies of the region table, and finds BAT and metadata as far as they can be found.
#pragma once

#include <optional>
#include <vector>

#include "base/file.h"
#include "vhdx/finding_list.h"
#include "vhdx/header.h"
#include "vhdx/region_table.h"

namespace vhdxm::vhdx {

struct CheckedRegions {
  /// Regions whose place is sound by itself (aligned, outside the header section, no wrap), of the
  /// copy that readers use. They may still overlap or reach past the end of the file.
  std::vector<Region> regions;
  std::optional<Region> bat;
  std::optional<Region> metadata;
};

/// Errors: of reading the file.
Result<CheckedRegions> check_regions(File& file, FindingList& findings);

}  // namespace vhdxm::vhdx
