#include "transfer/live_verify.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "transfer/page_compare.h"

namespace vhdxm::transfer {

static_assert(kVerifyPageBytes == kDirtyPageBytes, "a page is left out as it is marked");

LiveVerify::LiveVerify(LiveSource& source, std::uint64_t hash_seed)
    : source_(source), hash_seed_(hash_seed) {}

Result<std::optional<VerifyRange>> LiveVerify::read_next() {
  while (disk_ < source_.size() && at_ == source_.disk(disk_).size_bytes()) {
    ++disk_;
    at_ = 0;
  }
  if (disk_ == source_.size()) return std::optional<VerifyRange>();
  LiveDisk& disk = source_.disk(disk_);
  const std::uint64_t size = disk.size_bytes();
  VerifyRange range{.disk = disk_, .offset = at_, .length = 0, .hashes = {}};
  std::vector<vhdx::Extent> extents;
  VHDXM_TRY(const std::uint64_t mapped,
            disk.map(at_, std::min(size - at_, kVerifyHoleBytesMax), extents, 1));
  // Whole pages: what has nothing in it only in part is read.
  const std::uint64_t whole = mapped == size ? size : mapped - mapped % kVerifyPageBytes;
  if (extents.front().kind != vhdx::ExtentKind::kData && whole > at_) {
    range.length = whole - at_;
  } else {
    const Buffer buffer = pool_.acquire();
    const std::uint64_t wished = std::max(whole - at_, kVerifyPageBytes);
    range.length = std::min({wished, size - at_, std::uint64_t{buffer.bytes().size()}});
    const auto bytes = buffer.bytes().first(static_cast<std::size_t>(range.length));
    VHDXM_TRY_VOID(disk.read_passing(at_, bytes));
    range.hashes = page_hashes(bytes, hash_seed_);
  }
  at_ += range.length;
  return std::optional(std::move(range));
}

Result<std::uint64_t> LiveVerify::left_out(std::uint32_t disk, std::uint64_t offset,
                                           const std::vector<std::uint32_t>& differing) {
  // A write that was read before it was marked is marked when it has finished.
  source_.gate().await_under_way();
  LiveDisk& one = source_.disk(disk);
  std::uint64_t bytes = 0;
  for (const std::uint32_t page : differing) {
    const std::uint64_t at = offset + page * kVerifyPageBytes;
    if (!one.dirty().is_dirty(at)) {
      return Error{.code = Errc::kVerifyMismatch,
                   .where = "a page that the destination reads otherwise, and nobody wrote",
                   .offset = at,
                   .subject = one.name()};
    }
    bytes += std::min(kVerifyPageBytes, one.size_bytes() - at);
  }
  return bytes;
}

bool LiveVerify::begin_read(std::size_t unanswered) {
  if (reading_ || all_read_ || unanswered >= kVerifyRangesMax) return false;
  return reading_ = true;
}

void LiveVerify::on_read(const std::optional<VerifyRange>& range) {
  reading_ = false;
  if (!range) {
    all_read_ = true;
  } else if (!range->hashes.empty()) {
    read_bytes_ += range->length;
  }
}

}  // namespace vhdxm::transfer
