#include "transfer/page_compare.h"

#include <algorithm>

#include "base/check.h"
#include "base/hash128.h"

namespace vhdxm::transfer {
std::vector<std::uint64_t> page_hashes(std::span<const std::byte> bytes, std::uint64_t seed) {
  std::vector<std::uint64_t> hashes;
  hashes.reserve((bytes.size() + kVerifyPageBytes - 1) / kVerifyPageBytes);
  for (std::size_t at = 0; at < bytes.size(); at += kVerifyPageBytes) {
    const std::size_t length = std::min<std::size_t>(kVerifyPageBytes, bytes.size() - at);
    hashes.push_back(hash128(bytes.subspan(at, length), seed).low);
  }
  return hashes;
}

Result<std::vector<std::uint32_t>> differing_pages(vhdx::DiskWriter& disk, const VerifyRange& range,
                                                   std::uint64_t seed,
                                                   std::span<std::byte> scratch) {
  VHDXM_CHECK(!scratch.empty() && scratch.size() % kVerifyPageBytes == 0);
  std::vector<std::uint32_t> differing;
  const bool nothing = range.hashes.empty();
  const std::uint64_t end = range.offset + range.length;
  std::vector<vhdx::Extent> extents;
  for (std::uint64_t at = range.offset; at < end;) {
    std::uint64_t length = std::min<std::uint64_t>(end - at, scratch.size());
    if (nothing) {
      extents.clear();
      VHDXM_TRY(const std::uint64_t mapped, disk.map(at, end - at, extents, 1));
      const std::uint64_t whole = mapped == end ? end : mapped - mapped % kVerifyPageBytes;
      if (extents.front().kind != vhdx::ExtentKind::kData && whole > at) {
        at = whole;
        continue;
      }
      length = std::min(length, std::max(whole - at, kVerifyPageBytes));
    }
    const std::span<std::byte> bytes = scratch.first(static_cast<std::size_t>(length));
    VHDXM_TRY_VOID(disk.read(at, bytes));
    for (std::size_t in = 0; in < bytes.size(); in += kVerifyPageBytes) {
      const auto page = bytes.subspan(in, std::min<std::size_t>(kVerifyPageBytes, length - in));
      const std::uint64_t index = (at + in - range.offset) / kVerifyPageBytes;
      const bool same =
          nothing ? all_zero(page)
                  : hash128(page, seed).low == range.hashes[static_cast<std::size_t>(index)];
      if (!same) differing.push_back(static_cast<std::uint32_t>(index));
    }
    at += length;
  }
  return differing;
}

}  // namespace vhdxm::transfer
