// Where the parts of a new file stand: header section, log, metadata, BAT, then payload.
//
// Spec: [MS-VHDX] 2.1. The log has its first MiB after the header section, as Windows has it; the
// regions follow it, each a whole number of MiB.
#pragma once

#include <cstdint>

#include "vhdx/description.h"

namespace vhdxm::vhdx {

/// Units: bytes, multiples of 1 MiB.
struct FileLayout {
  std::uint64_t log_offset = 0;
  std::uint32_t log_bytes = 0;
  std::uint64_t metadata_offset = 0;
  std::uint32_t metadata_bytes = 0;
  std::uint64_t bat_offset = 0;
  std::uint32_t bat_bytes = 0;
  std::uint64_t payload_begin = 0;
};

/// The layout of a new file for `description`.
/// Errors: what validate() of the geometry and metadata_region_bytes() say.
Result<FileLayout> plan_layout(const Description& description);

}  // namespace vhdxm::vhdx
