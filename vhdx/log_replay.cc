#include "vhdx/log_replay.h"

#include <utility>

#include "vhdx/log_reader.h"
#include "vhdx/overlay_file.h"

namespace vhdxm::vhdx {
namespace {

struct Replayed {
  std::shared_ptr<OverlayFile> overlay;
  std::uint64_t entry_count = 0;
};

Result<Replayed> lay_over(const std::shared_ptr<File>& file, const Header& header) {
  VHDXM_TRY(const ActiveSequence sequence, find_active_sequence(*file, header));
  VHDXM_TRY(std::shared_ptr<OverlayFile> overlay, OverlayFile::over(file));
  for (const LogEntry& entry : sequence.entries) {
    VHDXM_TRY_VOID(apply_entry(*file, header, entry, *overlay));
  }
  overlay->grow(sequence.head().last_file_offset);
  return Replayed{std::move(overlay), sequence.entries.size()};
}

}  // namespace

Result<ReplayedFile> replay_in_memory(std::shared_ptr<File> file, const Header& header) {
  if (header.log_guid.is_zero()) return ReplayedFile{std::move(file), header, 0};
  VHDXM_TRY(Replayed replayed, lay_over(file, header));
  return ReplayedFile{std::move(replayed.overlay), header, replayed.entry_count};
}

Result<ReplayedFile> replay_on_file(std::shared_ptr<File> file, const Header& header,
                                    const Guid& file_write_guid) {
  if (header.log_guid.is_zero()) return ReplayedFile{std::move(file), header, 0};
  VHDXM_TRY(const Replayed replayed, lay_over(file, header));
  // Headers first (2.2.2.1), still with the LogGuid: until all is applied, the log is what counts.
  Header changed = header;
  changed.file_write_guid = file_write_guid;
  VHDXM_TRY(changed, update_headers(*file, changed));
  VHDXM_TRY_VOID(replayed.overlay->apply_to(*file));
  VHDXM_TRY_VOID(file->sync());
  changed.log_guid = Guid{};
  VHDXM_TRY(changed, update_headers(*file, changed));
  return ReplayedFile{std::move(file), changed, replayed.entry_count};
}

}  // namespace vhdxm::vhdx
