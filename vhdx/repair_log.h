// Changes sectors of metadata through the log, so that a crash leaves all of them changed or none.
//
// Spec: [MS-VHDX] 2.3. One entry, written while the log is empty and replayed at once: what a
// repair needs, not what a writer under load does.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "base/file.h"
#include "vhdx/header.h"
#include "vhdx/overlay_file.h"

namespace vhdxm::vhdx {

struct SectorChange {
  std::uint64_t file_offset = 0;  ///< Bytes, a multiple of 4 KiB.
  OverlayFile::Sector content;
};

/// How many sectors one entry can carry in a log of `log_bytes`; zero if there is no such log.
std::size_t log_entry_capacity(std::uint64_t log_bytes);

/// Writes one entry, makes the headers name it, and replays it. Returns the header as it is then.
///
/// Requires: `header` is current, its LogGuid zero, its log inside the file; at most
/// log_entry_capacity() sectors; the file's length is durable.
/// `file_write_guid`: for the headers. Errors: those of update_headers() and replay_on_file().
Result<Header> change_through_log(const std::shared_ptr<File>& file, const Header& header,
                                  std::span<const SectorChange> sectors,
                                  const Guid& file_write_guid);

}  // namespace vhdxm::vhdx
