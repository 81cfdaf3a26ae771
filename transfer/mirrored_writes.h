// Guests' writes that are acknowledged when both sides have them: which still wait, and for what.
//
// A mirrored write is a hastened copy. It has landed in the image and is marked dirty like any
// other; then its pages are taken out of the dirty map, read and sent before their turn, and the
// guest is answered when they are written at the other side. So a write that nobody waits for any
// more, whatever the reason, is dirty or on its way: nothing has to be done about it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>

namespace vhdxm::transfer {

/// Where a disk's writes go beside its image.
class WriteMirror {
 public:
  virtual ~WriteMirror() = default;
  /// A write, zeroing or trim that has landed and is marked. Returns when the other side has it, or
  /// when it is not to be waited for: it comes with the passes then. Blocks. From any thread.
  virtual void mirror(std::uint64_t offset, std::uint64_t length) = 0;
};

/// Units: bytes of the disks. Thread safety: none.
class MirroredWrites {
 public:
  /// A part of a write that has to be sent. Whole pages, but at the end of the disk.
  struct Part {
    std::uint64_t write = 0;  ///< Its number, from 1.
    std::uint32_t disk = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };

  /// The pages that the range touches, cut on the grid of `part_bytes`; its number.
  /// Requires: the range lies inside the disk, of `disk_bytes`, and is not empty.
  std::uint64_t add(std::uint32_t disk, std::uint64_t offset, std::uint64_t length,
                    std::uint64_t disk_bytes, std::uint64_t part_bytes);
  /// Nobody waits for it any more. Parts that were not taken are dirty.
  void drop(std::uint64_t write);

  /// Parts that nobody has taken, the first to come first; take() makes others invalid.
  std::deque<Part>& waiting() { return waiting_; }
  const std::deque<Part>& waiting() const { return waiting_; }
  /// So much of a write is at the other side. Of one that was dropped: nothing happens.
  void arrived(std::uint64_t write, std::uint64_t length);
  /// A part that was taken is not at the other side, and dirty again.
  void came_back(const Part& part);
  bool done(std::uint64_t write) const;
  /// The number of the last write that came; 0: none.
  std::uint64_t last() const { return last_; }
  bool waits_up_to(std::uint64_t write) const;

 private:
  std::deque<Part> waiting_;
  std::map<std::uint64_t, std::uint64_t> left_;  ///< Bytes that are not there, by the write.
  std::uint64_t last_ = 0;
};

}  // namespace vhdxm::transfer
