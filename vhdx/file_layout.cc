#include "vhdx/file_layout.h"

#include <algorithm>

#include "vhdx/metadata_writer.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::uint32_t kLogBytes = static_cast<std::uint32_t>(kMiB);

// The largest BAT there can be fits the 32-bit Length of a region: 2^26 blocks of 1 MiB and a
// bitmap entry for each 2^12 of them.
constexpr std::uint64_t kBatBytesMax =
    (kVirtualSizeMax / kBlockBytesMin + (kVirtualSizeMax / kBlockBytesMin >> 12)) * kBatEntryBytes;
static_assert(kBatBytesMax + kMiB <= 0xffffffff);

}  // namespace

Result<FileLayout> plan_layout(const Description& description) {
  VHDXM_TRY_VOID(description.geometry.validate());
  VHDXM_TRY(const std::uint32_t metadata_bytes, metadata_region_bytes(description));
  FileLayout layout;
  layout.log_offset = kHeaderSectionBytes;
  layout.log_bytes = kLogBytes;
  layout.metadata_offset = layout.log_offset + layout.log_bytes;
  layout.metadata_bytes = metadata_bytes;
  layout.bat_offset = layout.metadata_offset + layout.metadata_bytes;
  // A disk of no blocks has a BAT region all the same.
  const std::uint64_t bat = std::max<std::uint64_t>(
      description.geometry.bat_entry_count() * kBatEntryBytes, kBatEntryBytes);
  layout.bat_bytes = static_cast<std::uint32_t>((bat + kMiB - 1) / kMiB * kMiB);
  layout.payload_begin = layout.bat_offset + layout.bat_bytes;
  return layout;
}

}  // namespace vhdxm::vhdx
