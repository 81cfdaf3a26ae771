// Where the parent of a differencing disk may be on this host.
//
// Spec: [MS-VHDX] 2.6.2.6.3. The paths are Windows paths. The relative one is followed as it is
// written; drive letters, volume GUIDs and network shares mean nothing here, so of those only the
// file's name is used, beside the child. docs/vhdx.md says what is followed and why.
#pragma once

#include <string>
#include <vector>

#include "vhdx/description.h"

namespace vhdxm::vhdx {

struct ParentCandidate {
  std::string path;
  /// Not a place that the locator names, but where a parent that was moved along would be.
  bool is_guess = false;

  friend bool operator==(const ParentCandidate&, const ParentCandidate&) = default;
};

/// The most `..` at the start of a relative path. Ours; Windows' own depth is bounded by MAX_PATH.
inline constexpr std::size_t kParentClimbMax = 16;

/// Places to look at, in order, without repetition. `child_path` is the child's path as it was
/// opened. Only the linkage decides whether what is there is the parent.
std::vector<ParentCandidate> parent_candidates(const std::string& child_path,
                                               const ParentLocator& locator);

/// The locator's paths, for a message: `relative_path ".\base.vhdx", volume_path "..."`.
std::string describe_paths(const ParentLocator& locator);

}  // namespace vhdxm::vhdx
