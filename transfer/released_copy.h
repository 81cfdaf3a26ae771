// The copy that a source keeps after a live move handed its disk over: it owns nothing.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace vhdxm::transfer {

/// After the hand-over the source's file has this ending.
inline constexpr std::string_view kReleasedEnding = ".released";

/// Errors: BaseErrc::kInvalidArgument if the disk at `path` was released.
inline Result<void> refuse_released(const std::string& path) {
  if (!path.ends_with(kReleasedEnding)) return {};
  return Error{.code = BaseErrc::kInvalidArgument,
               .where = "this copy was released to another host, which owns the disk now",
               .subject = path};
}

}  // namespace vhdxm::transfer
