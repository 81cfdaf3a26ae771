#include "vhdx/space_allocator.h"

#include <algorithm>
#include <cerrno>

#include "base/check.h"

namespace vhdxm::vhdx {
namespace {

// The file grows ahead by so much, so that its size changes once in many allocations. Holes cost no
// room, and a clean close cuts off what was not used.
constexpr std::uint64_t kGrowMib = 64;

}  // namespace

SpaceAllocator::SpaceAllocator(File& file, std::uint64_t file_bytes)
    : file_(file), mib_count_((std::min(file_bytes, kFileBytesMax) + kMiB - 1) / kMiB) {
  taken_.resize(static_cast<std::size_t>(mib_count_ / 64 + 1));
  // What lies past the old end of the file reads as zero.
  fresh_from_ = mib_count_;
  free_below_fresh_ = mib_count_;
  take(0, kHeaderSectionBytes);
}

void SpaceAllocator::set(std::uint64_t first, std::uint64_t count, bool value) {
  for (std::uint64_t mib = first; mib < first + count; ++mib) {
    std::uint64_t& word = taken_[static_cast<std::size_t>(mib / 64)];
    const std::uint64_t bit = std::uint64_t{1} << (mib % 64);
    if (((word & bit) != 0) == value) continue;
    word ^= bit;
    if (mib >= fresh_from_) continue;
    free_below_fresh_ = value ? free_below_fresh_ - 1 : free_below_fresh_ + 1;
  }
  if (!value) no_run_of_ = ~std::uint64_t{0};
}

bool SpaceAllocator::take(std::uint64_t offset, std::uint64_t length) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t first = offset / kMiB;
  const std::uint64_t end = (offset + length + kMiB - 1) / kMiB;
  // The tail of the last block may lie past the end of the file (QEMU's fixed disks).
  if (end > mib_count_) {
    taken_.resize(std::max<std::size_t>(taken_.size(), static_cast<std::size_t>(end / 64 + 1)));
  }
  for (std::uint64_t mib = first; mib < end; ++mib) {
    if (is_taken(mib)) return false;
  }
  set(first, end - first, true);
  if (end > mib_count_) {
    mib_count_ = end;
    fresh_from_ = std::max(fresh_from_, end);
  }
  return true;
}

bool SpaceAllocator::find_run(std::uint64_t count, std::uint64_t& first) {
  if (free_below_fresh_ < count || no_run_of_ <= count) return false;
  // Twice round at most: from where the last search ended, then from the start.
  for (const std::uint64_t begin : {search_from_, std::uint64_t{0}}) {
    std::uint64_t run = 0;
    for (std::uint64_t mib = begin; mib < fresh_from_;) {
      if (mib % 64 == 0 && taken_[static_cast<std::size_t>(mib / 64)] == ~std::uint64_t{0}) {
        run = 0;
        mib += 64;
        continue;
      }
      run = is_taken(mib) ? 0 : run + 1;
      ++mib;
      if (run == count) {
        first = mib - count;
        search_from_ = mib;
        return true;
      }
    }
  }
  no_run_of_ = count;
  return false;
}

Result<void> SpaceAllocator::grow_to(std::uint64_t mib_count) {
  if (mib_count <= mib_count_) return {};
  constexpr std::uint64_t kMostMib = kFileBytesMax / kMiB;
  if (mib_count > kMostMib) {
    return Error{.code = error_code(EFBIG, boost::system::system_category()),
                 .where = "no VHDX file is this large",
                 .offset = mib_count * kMiB,
                 .subject = file_.name()};
  }
  const std::uint64_t target = std::min(std::max(mib_count, mib_count_ + kGrowMib), kMostMib);
  VHDXM_TRY_VOID(file_.resize(target * kMiB));
  mib_count_ = target;
  taken_.resize(std::max<std::size_t>(taken_.size(), static_cast<std::size_t>(target / 64 + 1)));
  return {};
}

Result<Placement> SpaceAllocator::allocate(std::uint64_t length) {
  VHDXM_CHECK(length != 0 && length % kMiB == 0);
  const std::lock_guard lock(mutex_);
  const std::uint64_t count = length / kMiB;
  std::uint64_t first = 0;
  if (find_run(count, first)) {
    set(first, count, true);
    return Placement{.offset = first * kMiB, .length = length, .zeroed = false};
  }
  first = fresh_from_;
  VHDXM_TRY_VOID(grow_to(first + count));
  set(first, count, true);
  fresh_from_ = first + count;
  return Placement{.offset = first * kMiB, .length = length, .zeroed = true};
}

void SpaceAllocator::give_back(const Placement& placement) {
  const std::lock_guard lock(mutex_);
  set(placement.offset / kMiB, placement.length / kMiB, false);
}

void SpaceAllocator::free_later(std::uint64_t offset, std::uint64_t length) {
  const std::lock_guard lock(mutex_);
  freed_.push_back({offset, length});
}

std::vector<SpaceAllocator::Freed> SpaceAllocator::take_freed() {
  const std::lock_guard lock(mutex_);
  return std::exchange(freed_, {});
}

void SpaceAllocator::release(const std::vector<Freed>& freed) {
  const std::lock_guard lock(mutex_);
  for (const Freed& range : freed) set(range.offset / kMiB, range.length / kMiB, false);
}

std::uint64_t SpaceAllocator::file_bytes() const {
  const std::lock_guard lock(mutex_);
  return mib_count_ * kMiB;
}

std::uint64_t SpaceAllocator::used_end() const {
  const std::lock_guard lock(mutex_);
  for (std::uint64_t mib = mib_count_; mib != 0; --mib) {
    if (is_taken(mib - 1)) return mib * kMiB;
  }
  return 0;
}

}  // namespace vhdxm::vhdx
