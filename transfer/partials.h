// What jobs that ended early left in a folder: listed, and removed on request.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/directory.h"
#include "base/result.h"

namespace vhdxm::transfer {

/// A disk that did not arrive completely, by its journal.
struct Partial {
  std::string name;                 ///< Of the disk.
  std::string id;                   ///< Of the job that began it, 32 hex digits; empty if unknown.
  std::uint64_t virtual_bytes = 0;  ///< 0 if unknown.
  std::uint64_t held_bytes = 0;     ///< Of the file system, that removing it gives back.
  bool in_use = false;              ///< A living job is receiving it.
  bool resumable = false;           ///< Its journal can be read, and there is a file of it.
};

/// What `folder` has, by name. Only what has a journal is of this program, and listed.
Result<std::vector<Partial>> list_partials(const Directory& folder);

/// Removes the partial file, what was put aside of it, and its journal. Errors: Errc::kBusy if a
/// living job is receiving it.
Result<void> remove_partial(const Directory& folder, const Partial& partial);

}  // namespace vhdxm::transfer
