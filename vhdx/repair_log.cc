#include "vhdx/repair_log.h"

#include "base/check.h"
#include "vhdx/log_replay.h"

namespace vhdxm::vhdx {

bool has_usable_log(const Header& header, std::uint64_t file_bytes) {
  return header.log_length >= kMiB && header.log_end() <= file_bytes;
}

Result<Header> change_through_log(const std::shared_ptr<File>& file, const Header& header,
                                  std::span<const LogPageUpdate> pages,
                                  const Guid& file_write_guid) {
  VHDXM_TRY(const std::uint64_t file_bytes, file->size());
  VHDXM_CHECK(header.log_guid.is_zero() && has_usable_log(header, file_bytes));
  Header changed = header;
  changed.file_write_guid = file_write_guid;
  changed.log_guid = Guid::random();
  // Nobody reads the log before a header names it, so the entry is durable first. A last part of
  // the file that is less than 1 MiB holds no object.
  LogWriter log(*file, header.log_offset, header.log_length, changed.log_guid);
  VHDXM_TRY_VOID(log.append(pages, {.durable = file_bytes, .needed = file_bytes / kMiB * kMiB}));
  VHDXM_TRY_VOID(file->sync());
  VHDXM_TRY(changed, update_headers(*file, changed));
  VHDXM_TRY(const ReplayedFile replayed, replay_on_file(file, changed, file_write_guid));
  return replayed.header;
}

}  // namespace vhdxm::vhdx
