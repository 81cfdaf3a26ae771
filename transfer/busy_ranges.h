// Ranges of a disk that are on their way: read, or about to be, and not known to be written yet.
//
// What is on its way must be there before anything newer of the same range is sent: streams do not
// wait for each other, so nothing else keeps the older from being written last.
#pragma once

#include <cstdint>
#include <map>

namespace vhdxm::transfer {

/// Units: bytes of the disk. Thread safety: none.
class BusyRanges {
 public:
  /// From `offset` on: how far all is busy, or nothing is. Range: 0 < length.
  struct Run {
    std::uint64_t length = 0;  ///< At most what was asked about.
    bool busy = false;
  };
  Run run(std::uint64_t offset, std::uint64_t length) const;
  bool overlaps(std::uint64_t offset, std::uint64_t length) const {
    const Run first = run(offset, length);
    return first.busy || first.length < length;
  }

  /// Requires: nothing of it is busy.
  void add(std::uint64_t offset, std::uint64_t length);
  /// Nothing of it is busy any more, whatever of it was.
  void remove(std::uint64_t offset, std::uint64_t length);
  bool empty() const { return ends_.empty(); }

 private:
  std::map<std::uint64_t, std::uint64_t> ends_;  ///< By their beginnings; apart, or side by side.
};

}  // namespace vhdxm::transfer
