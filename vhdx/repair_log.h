// Changes pages of metadata through the log, so that a crash leaves all of them changed or none.
//
// Spec: [MS-VHDX] 2.3. One entry, written while the log is empty and replayed at once: what a
// repair needs, not what a writer under load does.
#pragma once

#include <memory>
#include <span>

#include "base/file.h"
#include "vhdx/header.h"
#include "vhdx/log_writer.h"

namespace vhdxm::vhdx {

/// Whether the file has a log that can be used: at least 1 MiB, inside the file.
bool has_usable_log(const Header& header, std::uint64_t file_bytes);

/// Writes one entry, makes the headers name it, and replays it. Returns the header as it is then.
///
/// Requires: `header` is current, its LogGuid zero, its log usable; at most LogWriter::kPagesMax
/// pages; the file's length is durable.
/// `file_write_guid`: for the headers. Errors: those of update_headers() and replay_on_file().
Result<Header> change_through_log(const std::shared_ptr<File>& file, const Header& header,
                                  std::span<const LogPageUpdate> pages,
                                  const Guid& file_write_guid);

}  // namespace vhdxm::vhdx
