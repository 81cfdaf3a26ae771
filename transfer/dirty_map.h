// Which 4 KiB pages of a disk were written since somebody last looked.
//
// Two levels: a table of leaves, each the bits of 128 MiB of the disk, made when something in it is
// marked for the first time. Beside its bits a leaf has hints, a bit for each word of bits: a hint
// that is clear means that nothing in the word is dirty, unless a mark() is under way.
//
// The order that makes it right: who writes marks after the image holds the bytes and before
// anybody is told so; who copies takes (clears) before it reads. A write that a copier's read
// missed was then marked after the copier cleared, and is found again.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace vhdxm::transfer {

/// What one bit stands for.
inline constexpr std::uint64_t kDirtyPageBytes = 4096;

/// Units: bytes of the disk. Begins at a page; ends at a page or at the end of the disk.
struct DirtyRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  friend bool operator==(const DirtyRange&, const DirtyRange&) = default;
};

/// Memory: 8 bytes for each 128 MiB of the disk, and 4.1 KiB for each of these that was ever
/// marked: at most 32.6 MiB a TiB. Thread safety: all members may be called from any thread.
class DirtyMap {
 public:
  /// Of a disk of so many bytes; nothing is dirty.
  explicit DirtyMap(std::uint64_t disk_bytes);
  ~DirtyMap();
  DirtyMap(const DirtyMap&) = delete;
  DirtyMap& operator=(const DirtyMap&) = delete;

  /// Makes the leaves that marking the range needs, so that mark() cannot fail for lack of memory:
  /// to be called before the disk is changed. Throws std::bad_alloc.
  /// Requires, as of mark(): the range lies inside the disk.
  void reserve(std::uint64_t offset, std::uint64_t length);

  /// Every page that the range touches is dirty: it was written, or what a copier took of it did
  /// not get across. Requires: reserve() of it before, or that it was taken.
  void mark(std::uint64_t offset, std::uint64_t length) noexcept;

  /// Takes the first dirty pages at or after `from` that stand side by side, at most
  /// `length_max` bytes of them: they are clean now. Nothing: there are none.
  /// Several copiers that take at the same time each get pages that no other got; a page that was
  /// passed over meanwhile is found from its beginning by the next round.
  /// Range: length_max >= kDirtyPageBytes.
  std::optional<DirtyRange> take(std::uint64_t from, std::uint64_t length_max);

  /// Takes the dirty pages of the range, whichever they are. Requires: it begins at a page, and
  /// ends at one or at the end of the disk.
  void clean(std::uint64_t offset, std::uint64_t length);

  /// Whether the page is dirty that holds this byte. Requires: it lies inside the disk.
  bool is_dirty(std::uint64_t offset) const;

  /// Everything is clean. Leaves stay.
  void clear();

  /// Pages that are dirty. Exact while nobody marks or takes.
  std::uint64_t dirty_pages() const;
  /// Pages that became dirty since the map was made: what a rate is computed from.
  std::uint64_t marked_pages() const { return marked_pages_.load(std::memory_order_relaxed); }
  std::uint64_t disk_bytes() const { return disk_bytes_; }
  std::uint64_t memory_bytes() const;

 private:
  static constexpr std::size_t kWordBits = 64;
  static constexpr std::size_t kLeafWords = 512;
  static constexpr std::uint64_t kLeafPages = kLeafWords * kWordBits;
  struct Leaf {
    std::array<std::atomic<std::uint64_t>, kLeafWords / kWordBits> hints{};
    std::array<std::atomic<std::uint64_t>, kLeafWords> words{};
  };

  Leaf* leaf_of(std::uint64_t page) const {
    return leaves_[static_cast<std::size_t>(page / kLeafPages)].load(std::memory_order_acquire);
  }
  std::uint64_t page_end(std::uint64_t offset, std::uint64_t length) const;
  /// The first page at or after `page` in whose word something may be dirty; page_count_ if none.
  std::uint64_t hinted_page(std::uint64_t page) const;
  /// Takes pages side by side from `page` on out of one word: their first and how many.
  struct Run {
    std::uint64_t page = 0;
    std::uint64_t count = 0;
  };
  Run take_in_word(std::uint64_t page, std::uint64_t count_max, bool at_page);

  const std::uint64_t disk_bytes_;
  const std::uint64_t page_count_;
  /// Set once each, under grow_mutex_; owned.
  std::vector<std::atomic<Leaf*>> leaves_;
  std::mutex grow_mutex_;
  std::atomic<std::uint64_t> leaf_count_{0};
  std::atomic<std::uint64_t> marked_pages_{0};
  std::atomic<std::uint64_t> taken_pages_{0};
};

}  // namespace vhdxm::transfer
