// Content out of a disk as raw bytes, and into a new disk.
#pragma once

#include <cstdint>
#include <memory>

#include "base/file.h"
#include "vhdx/content_source.h"
#include "vhdx/description.h"
#include "vhdx/work_watch.h"

namespace vhdxm::vhdx {

/// Writes the content to `target` and makes it durable. An empty file becomes sparse: what is zero
/// is left a hole. A target that has a size (a block device) must be as long as the content at
/// least, and is made to read as zero where the content is. Memory: 1 MiB. Errors: of reading and
/// writing; BaseErrc::kInvalidArgument for too small a target; kCancelled.
Result<void> export_to_file(ContentSource& source, File& target, const WorkWatch& watch = {});

/// Writes the content, zeros included, to a descriptor that need not be seekable.
/// The caller sees to SIGPIPE. Memory: 1 MiB. Errors: of reading; of write(), named `fd_name`;
/// kCancelled.
Result<void> export_to_stream(ContentSource& source, int fd, const std::string& fd_name,
                              const WorkWatch& watch = {});

struct ImportOptions {
  bool preallocate = false;  ///< Always done for fixed disks.
};

struct ImportSummary {
  std::uint64_t blocks = 0;          ///< Of the disk.
  std::uint64_t present_blocks = 0;  ///< That have room in the file.
  std::uint64_t written_bytes = 0;   ///< Payload that was written; the rest of it is zero.
};

/// Makes a VHDX of `description` with the source's content in `target`, an empty file, and makes it
/// durable. Blocks that are all zero get no room, but in fixed disks. A virtual_size_bytes of zero
/// means the source's size, rounded up to whole sectors; a larger one adds zeros at the end.
/// An identity that is zero is replaced by a new one, as in create().
///
/// The source is looked at twice, to find the blocks that are not zero, where the first nonzero
/// byte ends the look, and to copy; it must not change meanwhile. Threads: four while it copies.
/// Memory: 1 MiB for each, and the block plan.
/// Errors: of reading and writing; BaseErrc::kInvalidArgument for a differencing disk or too small
/// a virtual size; what BulkWriter says; kCancelled.
Result<ImportSummary> import_content(ContentSource& source, std::shared_ptr<File> target,
                                     Description description, const ImportOptions& options,
                                     const WorkWatch& watch = {});

}  // namespace vhdxm::vhdx
