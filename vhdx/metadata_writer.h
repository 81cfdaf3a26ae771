// The metadata region of a new file: its table and the items behind it.
//
// Spec: [MS-VHDX] 2.6. The known items come first, then the items that are carried along as they
// are. Every item starts at a multiple of 8 bytes.
#pragma once

#include "base/file.h"
#include "vhdx/description.h"

namespace vhdxm::vhdx {

/// How long the region has to be. Units: bytes, a multiple of 1 MiB.
/// Errors: a parent locator that is missing, out of place or cannot be encoded; a carried item that
/// breaks a rule of 2.6.1.2 or that this program would have to understand.
Result<std::uint32_t> metadata_region_bytes(const Description& description);

/// Writes table and items to `file` at `region_offset`.
/// Requires: metadata_region_bytes(description) succeeded.
Result<void> write_metadata(File& file, std::uint64_t region_offset,
                            const Description& description);

}  // namespace vhdxm::vhdx
