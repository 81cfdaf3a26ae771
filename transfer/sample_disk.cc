#include "transfer/sample_disk.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "base/check.h"
#include "base/hash128.h"
#include "transfer/frame.h"
#include "transfer/wait_clock.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kEndlessExtentBytes = 1024 * 1024;
// Many places for the same bytes, each long enough for what a level finds.
constexpr std::uint64_t kPieceBytes = kCellBytes;
constexpr std::size_t kSampleMapExtents = 1024;
constexpr unsigned kReaders = 4;

// Where payload stands: of each target, an offset in the payload as if it stood side by side, the
// extent from there on.
Result<std::vector<vhdx::Extent>> find(vhdx::DiskView& view,
                                       std::span<const std::uint64_t> targets) {
  std::vector<vhdx::Extent> found;
  const std::uint64_t size = view.geometry().virtual_size_bytes;
  std::uint64_t passed = 0;  // payload before the extent that is looked at
  auto target = targets.begin();
  for (std::uint64_t at = 0; at < size && target != targets.end();) {
    std::vector<vhdx::Extent> extents;
    VHDXM_TRY(at, view.map(at, size - at, extents, kSampleMapExtents));
    for (const vhdx::Extent& extent : extents) {
      if (extent.kind != vhdx::ExtentKind::kData) continue;
      for (; target != targets.end() && *target < passed + extent.length; ++target) {
        // On a grid, as a move cuts it.
        std::uint64_t skip = *target - passed;
        skip -= std::min(skip, (extent.virtual_offset + skip) % kPieceBytes);
        vhdx::Extent piece = extent;
        piece.virtual_offset += skip;
        piece.file_offset += skip;
        piece.length = std::min(extent.length - skip, kPieceBytes);
        found.push_back(piece);
      }
      passed += extent.length;
    }
  }
  return found;
}

std::vector<std::uint64_t> spread(std::uint64_t payload_bytes, std::uint64_t bytes_max) {
  const std::uint64_t count = std::max<std::uint64_t>(bytes_max / kPieceBytes, 1);
  std::vector<std::uint64_t> targets;
  for (std::uint64_t i = 0; i < count; ++i) {
    targets.push_back(payload_bytes / count * i + payload_bytes / count / 2);
  }
  return targets;
}

}  // namespace

Result<DiskSample> sample_disk(vhdx::DiskView& view, std::uint64_t payload_bytes,
                               std::uint64_t bytes_max) {
  DiskSample sample;
  if (payload_bytes == 0) return sample;
  VHDXM_TRY(const auto extents,
            find(view, spread(payload_bytes, std::min(bytes_max, payload_bytes))));
  std::vector<std::vector<std::byte>> parts(extents.size());
  std::vector<Result<void>> results(kReaders, Result<void>{});
  std::atomic<std::size_t> next{0};
  std::vector<double> times(extents.size());  // seconds a byte
  {
    std::vector<std::thread> threads;
    for (auto& result : results) {
      threads.emplace_back([&] {
        for (std::size_t i = next++; i < extents.size() && !result.has_error(); i = next++) {
          parts[i].resize(extents[i].length);
          const auto before = std::chrono::steady_clock::now();
          result = read_exact_at(*extents[i].file, extents[i].file_offset, parts[i],
                                 "payload of the disk");
          times[i] = seconds(std::chrono::steady_clock::now() - before) /
                     static_cast<double>(extents[i].length);
        }
      });
    }
    for (auto& thread : threads) thread.join();
  }
  for (auto& result : results) VHDXM_TRY_VOID(std::move(result));
  // The median: one read that had to wait for somebody else's says nothing about the disk.
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                   times.end());
  sample.read_bytes_per_second = kReaders / times[times.size() / 2];
  for (const auto& part : parts) {
    sample.read_bytes += part.size();
    for (std::size_t at = 0; at < part.size(); at += kCellBytes) {
      const auto cell =
          std::span(part).subspan(at, std::min<std::size_t>(kCellBytes, part.size() - at));
      if (all_zero(cell)) {
        sample.zero_bytes += cell.size();
      } else {
        sample.bytes.insert(sample.bytes.end(), cell.begin(), cell.end());
      }
    }
  }
  return sample;
}

EndlessDisk::EndlessDisk(std::span<const std::byte> sample) : file_("the sample") {
  VHDXM_CHECK(!sample.empty());
  description_.geometry = {.virtual_size_bytes = vhdx::kVirtualSizeMax,
                           .block_bytes = vhdx::kBlockBytesMax,
                           .logical_sector_bytes = 512,
                           .physical_sector_bytes = 4096,
                           .type = vhdx::DiskType::kFixed};
  // Whole extents, so that each frame is as long as a disk's are.
  extents_ = std::max<std::uint64_t>(sample.size() / kEndlessExtentBytes, 1);
  for (std::uint64_t at = 0; at < extents_ * kEndlessExtentBytes;) {
    const std::uint64_t length =
        std::min<std::uint64_t>(sample.size(), extents_ * kEndlessExtentBytes - at);
    VHDXM_CHECK(!file_.write_at(at, sample.first(length)).has_error());
    at += length;
  }
}

Result<std::uint64_t> EndlessDisk::map(std::uint64_t offset, std::uint64_t length,
                                       std::vector<vhdx::Extent>& out, std::size_t extents_max) {
  const std::uint64_t end = offset + length;
  for (std::size_t count = 0; offset < end && count < extents_max; ++count) {
    const std::uint64_t in_extent = offset % kEndlessExtentBytes;
    const std::uint64_t piece = std::min(end - offset, kEndlessExtentBytes - in_extent);
    out.push_back(
        {.virtual_offset = offset,
         .length = piece,
         .kind = vhdx::ExtentKind::kData,
         .file = &file_,
         .file_offset = offset / kEndlessExtentBytes % extents_ * kEndlessExtentBytes + in_extent});
    offset += piece;
  }
  return offset;
}

Result<void> EndlessDisk::payload_states(std::uint64_t, std::span<vhdx::PayloadState> out) {
  std::fill(out.begin(), out.end(), vhdx::PayloadState::kFullyPresent);
  return {};
}

}  // namespace vhdxm::transfer
