// The disks that a job sends: files that nobody writes to, or disks in use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "transfer/messages.h"
#include "vhdx/block_plan.h"
#include "vhdx/disk_view.h"

namespace vhdxm::transfer {

/// Thread safety: const members may be called from several threads.
class SendSource {
 public:
  virtual ~SendSource() = default;

  /// Parents first, as they are offered.
  virtual std::size_t size() const = 0;
  virtual vhdx::DiskView& view(std::uint32_t disk) const = 0;
  /// With opaque items in the description, and the file's real path beside it.
  virtual std::vector<OfferDisk> offer() const = 0;
  /// At the destination.
  virtual const std::string& name(std::uint32_t disk) const = 0;
  virtual const std::string& path(std::uint32_t disk) const = 0;
  /// Bytes of payload that the map of the disk says there are.
  virtual std::uint64_t payload_bytes(std::uint32_t disk) const = 0;
  /// Errors: Errc::kSourceChanged if the disk is not any more what was sent of it.
  virtual Result<void> check_unchanged(std::uint32_t disk) const = 0;
};

/// Bytes of data that the map of a disk says there are. Reads the whole map.
Result<std::uint64_t> payload_of(vhdx::DiskView& disk);
/// What the destination must have room for, of a disk with so much payload. Bytes.
std::uint64_t room_for(const vhdx::Geometry& geometry, std::uint64_t payload_bytes);

}  // namespace vhdxm::transfer
