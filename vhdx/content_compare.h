// Compares the content of two disks, byte for byte, without reading what both know to be zero.
#pragma once

#include <optional>

#include "vhdx/content_source.h"
#include "vhdx/work_watch.h"

namespace vhdxm::vhdx {

struct Comparison {
  /// Where the first byte differs in what both have; nothing if that is all the same.
  std::optional<std::uint64_t> first_difference;
  std::uint64_t first_size_bytes = 0;
  std::uint64_t second_size_bytes = 0;

  /// Same size and same bytes.
  bool same() const { return !first_difference && first_size_bytes == second_size_bytes; }
};

/// Compares up to the end of the shorter, and stops at the first difference.
/// Memory: two buffers of 1 MiB. Errors: of reading; BaseErrc::kCancelled.
Result<Comparison> compare_content(ContentSource& first, ContentSource& second,
                                   const WorkWatch& watch = {});

}  // namespace vhdxm::vhdx
