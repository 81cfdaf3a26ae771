#include "transfer/send_source.h"

namespace vhdxm::transfer {
namespace {

// What a moved disk needs beside its blocks: header section, log, metadata; the BAT is added.
constexpr std::uint64_t kFixedPartsBytes = 3 * vhdx::kMiB;

}  // namespace

Result<std::uint64_t> payload_of(vhdx::DiskView& disk) {
  const std::uint64_t size = disk.geometry().virtual_size_bytes;
  std::uint64_t bytes = 0;
  std::vector<vhdx::Extent> extents;
  for (std::uint64_t at = 0; at < size;) {
    extents.clear();
    VHDXM_TRY(at, disk.map(at, size - at, extents));
    for (const vhdx::Extent& extent : extents) {
      if (extent.kind == vhdx::ExtentKind::kData) bytes += extent.length;
    }
  }
  return bytes;
}

std::uint64_t room_for(const vhdx::Geometry& geometry, std::uint64_t payload_bytes) {
  const bool fixed = geometry.type == vhdx::DiskType::kFixed;
  const std::uint64_t payload = fixed ? geometry.virtual_size_bytes : payload_bytes;
  return payload + geometry.bat_entry_count() * vhdx::kBatEntryBytes + kFixedPartsBytes;
}

}  // namespace vhdxm::transfer
