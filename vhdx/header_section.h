// The first MiB of a new file: file identifier, both headers, both region tables.
//
// Spec: [MS-VHDX] 2.2. It is what makes a file a VHDX, so it is written last.
#pragma once

#include "base/file.h"
#include "vhdx/file_layout.h"

namespace vhdxm::vhdx {

/// Writes the header section: an empty log (LogGuid zero), a new FileWriteGuid, both headers
/// alike but for consecutive sequence numbers, both regions required.
Result<void> write_header_section(File& file, const FileLayout& layout,
                                  const Guid& data_write_guid);

}  // namespace vhdxm::vhdx
