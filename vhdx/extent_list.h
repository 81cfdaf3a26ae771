// Appends extents to a caller's vector: joins neighbours, stops at a limit.
#pragma once

#include <cstddef>
#include <vector>

#include "vhdx/extent.h"

namespace vhdxm::vhdx {

class ExtentList {
 public:
  /// What stands in `out` already is left alone. `extents_max` counts what is added.
  ExtentList(std::vector<Extent>& out, std::size_t extents_max)
      : out_(out), first_(out.size()), extents_max_(extents_max) {}

  /// Adds an extent that begins where the last one ended. False: there is no room, nothing was
  /// added.
  bool add(const Extent& extent) {
    if (out_.size() > first_ && continues(out_.back(), extent)) {
      out_.back().length += extent.length;
      return true;
    }
    if (full()) return false;
    out_.push_back(extent);
    return true;
  }

  bool full() const { return out_.size() - first_ >= extents_max_; }

 private:
  static bool continues(const Extent& before, const Extent& extent) {
    if (before.kind != extent.kind) return false;
    if (extent.kind != ExtentKind::kData) return true;
    return before.file == extent.file && before.file_offset + before.length == extent.file_offset;
  }

  std::vector<Extent>& out_;
  const std::size_t first_;
  const std::size_t extents_max_;
};

}  // namespace vhdxm::vhdx
