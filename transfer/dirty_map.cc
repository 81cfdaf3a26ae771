#include "transfer/dirty_map.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kAllBits = ~std::uint64_t{0};

/// `count` bits from `first` on. Requires: first < 64, 0 < count <= 64 - first.
constexpr std::uint64_t bits(std::uint64_t first, std::uint64_t count) {
  return kAllBits >> (64 - count) << first;
}

}  // namespace

DirtyMap::DirtyMap(std::uint64_t disk_bytes)
    : disk_bytes_(disk_bytes),
      page_count_(disk_bytes / kDirtyPageBytes + (disk_bytes % kDirtyPageBytes != 0 ? 1 : 0)),
      leaves_(static_cast<std::size_t>((page_count_ + kLeafPages - 1) / kLeafPages)) {}

DirtyMap::~DirtyMap() {
  for (const auto& leaf : leaves_) delete leaf.load(std::memory_order_relaxed);
}

/// Where the pages of a range end.
std::uint64_t DirtyMap::page_end(std::uint64_t offset, std::uint64_t length) const {
  VHDXM_CHECK(offset <= disk_bytes_ && length <= disk_bytes_ - offset);
  return length == 0 ? offset / kDirtyPageBytes : (offset + length - 1) / kDirtyPageBytes + 1;
}

void DirtyMap::reserve(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = page_end(offset, length);
  for (std::uint64_t page = offset / kDirtyPageBytes; page < end;
       page = (page / kLeafPages + 1) * kLeafPages) {
    if (leaf_of(page) != nullptr) continue;
    const std::lock_guard lock(grow_mutex_);
    if (leaf_of(page) != nullptr) continue;
    auto leaf = std::make_unique<Leaf>();
    leaves_[static_cast<std::size_t>(page / kLeafPages)].store(leaf.release(),
                                                               std::memory_order_release);
    leaf_count_.fetch_add(1, std::memory_order_relaxed);
  }
}

// The bit first, then the hint, then the count: a taker that clears the hint before it looks at the
// word either sees the bit or leaves the hint that is set here for the next one.
void DirtyMap::mark(std::uint64_t offset, std::uint64_t length) noexcept {
  const std::uint64_t end = page_end(offset, length);
  for (std::uint64_t page = offset / kDirtyPageBytes; page < end;) {
    Leaf* leaf = leaf_of(page);
    VHDXM_CHECK(leaf != nullptr);
    const std::uint64_t first = page % kWordBits;
    const std::uint64_t count = std::min(end - page, kWordBits - first);
    const auto word = static_cast<std::size_t>(page % kLeafPages / kWordBits);
    const std::uint64_t mask = bits(first, count);
    const std::uint64_t before = leaf->words[word].fetch_or(mask);
    leaf->hints[word / kWordBits].fetch_or(bits(word % kWordBits, 1));
    if ((mask & ~before) != 0) {
      marked_pages_.fetch_add(static_cast<std::uint64_t>(std::popcount(mask & ~before)),
                              std::memory_order_relaxed);
    }
    page += count;
  }
}

std::uint64_t DirtyMap::hinted_page(std::uint64_t page) const {
  while (page < page_count_) {
    const Leaf* leaf = leaf_of(page);
    if (leaf == nullptr) {
      page = (page / kLeafPages + 1) * kLeafPages;
      continue;
    }
    const auto word = static_cast<std::size_t>(page % kLeafPages / kWordBits);
    const std::uint64_t hints = leaf->hints[word / kWordBits].load() >> (word % kWordBits);
    if ((hints & 1) != 0) return page;
    // The beginning of the next word with a hint, or of the next 64 words.
    const std::uint64_t skip = hints != 0 ? static_cast<std::uint64_t>(std::countr_zero(hints))
                                          : kWordBits - word % kWordBits;
    page = (page / kWordBits + skip) * kWordBits;
  }
  return page_count_;
}

// `at_page`: the run must begin at `page`.
DirtyMap::Run DirtyMap::take_in_word(std::uint64_t page, std::uint64_t count_max, bool at_page) {
  Leaf* leaf = page < page_count_ ? leaf_of(page) : nullptr;
  if (leaf == nullptr) return {};
  const auto index = static_cast<std::size_t>(page % kLeafPages / kWordBits);
  std::atomic<std::uint64_t>& word = leaf->words[index];
  std::atomic<std::uint64_t>& hints = leaf->hints[index / kWordBits];
  const std::uint64_t hint = bits(index % kWordBits, 1);
  hints.fetch_and(~hint);
  Run run;
  std::uint64_t now = word.load();
  std::uint64_t left = now;
  for (;;) {
    const std::uint64_t first = page % kWordBits;
    const std::uint64_t ahead = now >> first << first;
    const auto begin = static_cast<std::uint64_t>(std::countr_zero(ahead));
    if (ahead == 0 || (at_page && begin != first)) {
      run = {};
      left = now;
      break;
    }
    const auto ones = static_cast<std::uint64_t>(std::countr_one(now >> begin));
    run = {.page = page - first + begin, .count = std::min(ones, count_max)};
    left = now & ~bits(begin, run.count);
    if (word.compare_exchange_weak(now, left)) break;
  }
  if (left != 0) hints.fetch_or(hint);
  taken_pages_.fetch_add(run.count, std::memory_order_relaxed);
  return run;
}

std::optional<DirtyRange> DirtyMap::take(std::uint64_t from, std::uint64_t length_max) {
  const std::uint64_t count_max = length_max / kDirtyPageBytes;
  VHDXM_CHECK(count_max > 0);
  Run found;
  for (std::uint64_t page = from / kDirtyPageBytes; found.count == 0;) {
    page = hinted_page(page);
    if (page == page_count_) return std::nullopt;
    found = take_in_word(page, count_max, false);
    page = (page / kWordBits + 1) * kWordBits;
  }
  // What goes on in the words behind it.
  while (found.count < count_max && (found.page + found.count) % kWordBits == 0) {
    const Run more = take_in_word(found.page + found.count, count_max - found.count, true);
    if (more.count == 0) break;
    found.count += more.count;
  }
  const std::uint64_t offset = found.page * kDirtyPageBytes;
  return DirtyRange{.offset = offset,
                    .length = std::min(found.count * kDirtyPageBytes, disk_bytes_ - offset)};
}

// Hints stay: one that is set says nothing.
void DirtyMap::clean(std::uint64_t offset, std::uint64_t length) {
  VHDXM_CHECK(offset % kDirtyPageBytes == 0);
  const std::uint64_t end = page_end(offset, length);
  for (std::uint64_t page = offset / kDirtyPageBytes; page < end;) {
    Leaf* leaf = leaf_of(page);
    if (leaf == nullptr) {
      page = (page / kLeafPages + 1) * kLeafPages;
      continue;
    }
    const std::uint64_t first = page % kWordBits;
    const std::uint64_t count = std::min(end - page, kWordBits - first);
    const std::uint64_t mask = bits(first, count);
    const auto word = static_cast<std::size_t>(page % kLeafPages / kWordBits);
    const std::uint64_t taken = leaf->words[word].fetch_and(~mask) & mask;
    taken_pages_.fetch_add(static_cast<std::uint64_t>(std::popcount(taken)),
                           std::memory_order_relaxed);
    page += count;
  }
}

bool DirtyMap::is_dirty(std::uint64_t offset) const {
  const std::uint64_t page = offset / kDirtyPageBytes;
  VHDXM_CHECK(page < page_count_);
  const Leaf* leaf = leaf_of(page);
  if (leaf == nullptr) return false;
  const auto word = static_cast<std::size_t>(page % kLeafPages / kWordBits);
  return (leaf->words[word].load() & bits(page % kWordBits, 1)) != 0;
}

void DirtyMap::clear() {
  std::uint64_t from = 0;
  while (const auto range = take(from, disk_bytes_ + kDirtyPageBytes)) {
    from = range->offset + range->length;
  }
}

std::uint64_t DirtyMap::dirty_pages() const {
  // In this order, and never below zero: a page is counted as taken after it was as marked only if
  // its mark() had returned.
  const std::uint64_t taken = taken_pages_.load(std::memory_order_relaxed);
  const std::uint64_t marked = marked_pages_.load(std::memory_order_relaxed);
  return marked > taken ? marked - taken : 0;
}

std::uint64_t DirtyMap::memory_bytes() const {
  return leaves_.size() * sizeof(leaves_[0]) +
         leaf_count_.load(std::memory_order_relaxed) * sizeof(Leaf);
}

}  // namespace vhdxm::transfer
