// Replays the log: in memory over a file that is not touched, or on the file itself.
//
// Spec: [MS-VHDX] 2.3.3, 2.2.2.1. Nothing but the headers and the log may be trusted before.
#pragma once

#include <cstdint>
#include <memory>

#include "base/file.h"
#include "base/guid.h"
#include "vhdx/header.h"

namespace vhdxm::vhdx {

struct ReplayedFile {
  std::shared_ptr<File> file;  ///< As it is after the replay; the given one if there was no log.
  Header header;               ///< Current; in memory still with its LogGuid.
  std::uint64_t entry_count = 0;
};

/// Lays the log's active sequence over `file`, which is only read.
/// Requires of both: `header` is what select_header() said of `file`.
/// Errors: those of find_active_sequence() and apply_entry().
Result<ReplayedFile> replay_in_memory(std::shared_ptr<File> file, const Header& header);

/// Writes the log's active sequence into `file` and clears the log: a new FileWriteGuid in both
/// headers, then the updates, then LogGuid zero in both headers, with a flush after each. A crash
/// anywhere leaves a file that replays to the same content. DataWriteGuid stays: the content as its
/// user sees it does not change. What is wrong with the log is found before anything is written.
/// `file_write_guid`: the new one, for a caller that has to know it beforehand.
Result<ReplayedFile> replay_on_file(std::shared_ptr<File> file, const Header& header,
                                    const Guid& file_write_guid = Guid::random());

}  // namespace vhdxm::vhdx
