// A few extents of a disk, spread over all that it holds; and an endless disk made of them, to
// measure with.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/memory_file.h"
#include "base/result.h"
#include "vhdx/disk_view.h"

namespace vhdxm::transfer {

struct DiskSample {
  std::vector<std::byte> bytes;  ///< Extents back to back; zeros left out, as a move does.
  std::uint64_t read_bytes = 0;  ///< Of the disk, zeros among them.
  std::uint64_t zero_bytes = 0;  ///< Of read_bytes: cells that were all zero.
  /// How fast the disk is read by a few threads, as far as the sample tells.
  double read_bytes_per_second = 0;
};

/// Reads at most `bytes_max` of the disk's payload, at least one piece, in pieces of 256 KiB (or
/// less where payload is in smaller pieces) spread evenly over it.
/// `payload_bytes`: what its map says there is. Errors: of reading.
Result<DiskSample> sample_disk(vhdx::DiskView& view, std::uint64_t payload_bytes,
                               std::uint64_t bytes_max);

/// A fixed disk of the largest size whose content is the sample, over and over.
class EndlessDisk final : public vhdx::DiskView {
 public:
  /// `sample`: not empty.
  explicit EndlessDisk(std::span<const std::byte> sample);

  const vhdx::Description& description() const override { return description_; }
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length,
                            std::vector<vhdx::Extent>& out, std::size_t extents_max) override;
  Result<void> payload_states(std::uint64_t first_block,
                              std::span<vhdx::PayloadState> out) override;

 private:
  vhdx::Description description_;
  MemoryFile file_;
  std::uint64_t extents_ = 0;  ///< In file_.
};

}  // namespace vhdxm::transfer
