// Compresses the payload of frames, where that is wanted and wins something.
#pragma once

#include <cstddef>
#include <span>

#include "base/buffer_pool.h"
#include "transfer/compressor_pool.h"
#include "transfer/frame_builder.h"
#include "transfer/mode_control.h"

namespace vhdxm::transfer {

/// Compresses the payload of the data frames of `built`, which stands in `buffer`, as `control`
/// says for each frame. What is compressed takes the place of the raw bytes, so no further buffer
/// is held while it is sent; headers and payloads of `built` say what is there now. Thread safety:
/// from several threads at once, each with a buffer of its own.
void pack_frames(BuiltFrames& built, std::span<std::byte> buffer, ModeControl& control,
                 CompressorPool& compressors);

}  // namespace vhdxm::transfer
