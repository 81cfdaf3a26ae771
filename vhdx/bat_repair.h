// What in a BAT that can be read is not as it should be, and where the last object of a file ends.
//
// Only entries of blocks that are not there are ever changed, and only in bits that no reader uses:
// the disk shows the same before and after.
#pragma once

#include <cstdint>
#include <vector>

#include "vhdx/layer.h"
#include "vhdx/log_writer.h"

namespace vhdxm::vhdx {

/// Entries of one kind that are put right.
struct BatMend {
  const char* rule = "";  ///< A section, "2.5.1".
  const char* what = "";  ///< "entries past the last block of the disk"
  std::uint64_t count = 0;
  std::uint64_t first_offset = 0;  ///< Bytes of the file.
};

struct BatRepair {
  std::vector<LogPageUpdate> sectors;  ///< Of the BAT, as they should be; at most kBatSectorsMax.
  std::vector<BatMend> mends;          ///< What the sectors put right.
  std::uint64_t blocks_end = 0;        ///< Bytes of the file: where the last block ends; 0: none.
};

/// More than this at a time is left for the next repair: 16 MiB of memory.
inline constexpr std::size_t kBatSectorsMax = 4096;

/// Requires: layer.validate_bat() found nothing. Reads the BAT twice. Memory: one bit a MiB of the
/// file, and the sectors. Errors: of reading.
Result<BatRepair> survey_bat(Layer& layer);

}  // namespace vhdxm::vhdx
