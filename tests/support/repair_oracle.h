// What must hold of a repair, whatever the image: for the fuzz target and the property tests.
#pragma once

#include <memory>
#include <string>

#include "base/file.h"
#include "base/memory_file.h"
#include "vhdx/repair.h"

namespace vhdxm::test {

/// A copy with the same holes.
std::shared_ptr<MemoryFile> copy_of(File& file);
bool same_bytes(File& a, File& b);

/// Whether two disks show the same: description, map and every byte. Both must be readable.
bool same_disk(const std::shared_ptr<File>& a, const std::shared_ptr<File>& b);

struct RepairVerdict {
  enum class Outcome { kNothingToDo, kMended, kRefused };
  Outcome outcome = Outcome::kNothingToDo;
  std::string broken;  ///< What did not hold; empty: all did.
};

/// Repairs `file`, undoes it, and repairs it again. Proves: planning only reads; a result is sound,
/// shows what the disk showed before if it could be read, and leaves nothing to mend; undo leads
/// back to every byte; without a plan the file is as it was.
RepairVerdict try_repair(const std::shared_ptr<MemoryFile>& file);

}  // namespace vhdxm::test
