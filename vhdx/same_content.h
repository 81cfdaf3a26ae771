// Whether a layer shows the same after its file was changed in some places.
#pragma once

#include <span>

#include "vhdx/layer.h"
#include "vhdx/rehearsal_file.h"

namespace vhdxm::vhdx {

/// Compares description and map, and the bytes of the payload that lie in `changed`: where neither
/// the place nor the file differs, nothing has to be read. So a disk of many TiB costs its map.
///
/// Requires: outside `changed` the files of both layers are the same, but for the logs laid over
/// them. Errors: of mapping and reading.
Result<bool> same_content(Layer& before, Layer& after, std::span<const FileRange> changed);

}  // namespace vhdxm::vhdx
