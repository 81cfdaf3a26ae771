#include <fmt/format.h>

#include "vhdx/check.h"
#include "vhdx/finding_list.h"
#include "vhdx/layer.h"

namespace vhdxm::vhdx {

CheckReport check_link(const Layer& child, const Layer& parent) {
  FindingList findings;
  const Description& below = child.description();
  const Description& above = parent.description();
  if (below.parent && below.parent->linkage() != above.data_write_guid) {
    findings.note(
        "2.6.2.6.3",
        fmt::format("its parent {} is the one of parent_linkage2: a merge was not finished",
                    parent.name()));
  }
  if (below.geometry.virtual_size_bytes < above.geometry.virtual_size_bytes) {
    findings.note("2.6.2.2",
                  fmt::format("it has {} bytes, its parent {} has {}: what is behind does not show",
                              below.geometry.virtual_size_bytes, parent.name(),
                              above.geometry.virtual_size_bytes));
  }
  if (below.geometry.virtual_size_bytes > above.geometry.virtual_size_bytes) {
    findings.note("2.6.2.2",
                  fmt::format("it has {} bytes, its parent {} has {}: what is behind reads as zero",
                              below.geometry.virtual_size_bytes, parent.name(),
                              above.geometry.virtual_size_bytes));
  }
  if (below.virtual_disk_id != above.virtual_disk_id) {
    findings.note("2.6.2.3", fmt::format("its Virtual Disk ID is {}, that of its parent {} is {}",
                                         to_string(below.virtual_disk_id), parent.name(),
                                         to_string(above.virtual_disk_id)));
  }
  if (below.geometry.physical_sector_bytes != above.geometry.physical_sector_bytes) {
    findings.note("2.6.2.5",
                  fmt::format("its physical sectors have {} bytes, those of its parent {} have {}",
                              below.geometry.physical_sector_bytes, parent.name(),
                              above.geometry.physical_sector_bytes));
  }
  return findings.take();
}

}  // namespace vhdxm::vhdx
