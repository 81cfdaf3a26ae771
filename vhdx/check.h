// Proves that a file keeps the rules of the format, or says which it breaks and where.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace vhdxm::vhdx {

struct Finding {
  enum class Severity {
    kNote,     ///< Allowed, or a known habit of a producer; said for completeness.
    kWarning,  ///< A rule is broken, the content is not touched by it.
    kCorrupt,  ///< Content is lost, ambiguous or unreachable; the image is refused.
  };
  Severity severity = Severity::kNote;
  std::string rule;                         ///< "[MS-VHDX] 2.2.2"
  std::string what;                         ///< One sentence, with the numbers.
  std::uint64_t offset = Error::kNoOffset;  ///< Bytes of the file, if it is tied to a place.
};

struct CheckReport {
  std::vector<Finding> findings;  ///< At most kFindingsMax; `suppressed` counts the rest.
  std::uint64_t suppressed = 0;
  bool corrupt() const;
};
inline constexpr std::size_t kFindingsMax = 1000;

/// Checks one file (not its parents) without changing it: file identifier, both headers, both
/// region tables, log, metadata, locator, BAT, overlaps, sector bitmaps. Goes on after a finding as
/// far as the rest can still be understood. Errors: only of reading the file; what is wrong with
/// its content is in the report.
Result<CheckReport> check(std::shared_ptr<File> file);

class Layer;

/// What is odd about a child and the parent that it is linked to, though readers take it. (What
/// they refuse, Image::open() says.)
CheckReport check_link(const Layer& child, const Layer& parent);

}  // namespace vhdxm::vhdx
