// Mends what is safe to mend in a damaged file, and nothing else.
//
// A repair is tried in memory first: the changes are made over the file as it is, the result is
// checked, opened and compared with what the disk showed before. Only a result that is sound and
// shows the same is carried out; otherwise the file stays as it is, byte for byte.
//
// What is mended, in this order (sections of [MS-VHDX]):
//   2.2.2    a header that is not valid, headers that cannot be told apart, reserved bytes: both
//   are
//            written anew by the procedure of 2.2.2.1, with a new FileWriteGuid
//   2.3.3    a log that was not applied: replayed
//   2.2.3    a region table that is not valid, or differs from the first: copied from the other
//   2.1      a file that ends inside a block, or is no multiple of 1 MiB: made longer, with zeros
//   2.5.1    bits of BAT entries that nobody uses and the format wants zero: through the log
//   2.1      space at the end that no object has: cut off
// Space in the middle that no object has stays: the next writer will use it.
//
// After a crash anywhere the file is readable or can be repaired, to the same content; and the
// backup, which is durable before the first change, leads back to the file as it was.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/guid.h"
#include "vhdx/check.h"
#include "vhdx/rehearsal_file.h"

namespace vhdxm::vhdx {

struct Mend {
  std::string rule;  ///< "[MS-VHDX] 2.2.2"
  std::string what;  ///< One sentence, in the past tense.
  std::uint64_t offset = Error::kNoOffset;
};

struct RepairPlan {
  CheckReport before;  ///< Of the file as it is.
  /// What is changed; empty: nothing, because nothing is wrong that can be mended, or because of
  /// `obstacle`.
  std::vector<Mend> mends;
  /// Why the file cannot be brought into order.
  std::optional<Error> obstacle;
  CheckReport after;  ///< Of the file as it will be; only if there are mends.

  // Of the changes; only if there are mends.
  std::shared_ptr<RehearsalFile> rehearsal;
  Guid file_write_guid;  ///< What the headers will have.

  /// Changes `file`, which must still be what was planned for, and makes that durable.
  Result<void> apply(File& file) const;
};

/// Plans the repair of one file (not its parents). Only reads. Memory: by what is changed.
/// Errors: of reading the file; what is wrong with its content is in the plan.
Result<RepairPlan> plan_repair(std::shared_ptr<File> file);

}  // namespace vhdxm::vhdx
