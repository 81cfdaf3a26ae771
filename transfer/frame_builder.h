// Turns a batch of work into frames: reads payload once, finds zeros, hashes what will be sent.
#pragma once

#include <span>
#include <vector>

#include "base/buffer_pool.h"
#include "base/result.h"
#include "transfer/extent_queue.h"

namespace vhdxm::transfer {

/// The frames of one batch and where in the buffer each one's payload is.
struct BuiltFrames {
  std::vector<ExtentQueue::Sent> frames;
  std::vector<std::span<const std::byte>> payloads;  ///< Empty for a range.
  std::uint64_t payload_bytes = 0;                   ///< Of data that must travel.
  std::uint64_t zero_bytes = 0;                      ///< Of data that was all zero.
  std::uint64_t same_bytes = 0;                      ///< Of data that the receiver has already.
};

/// Reads the data items of `batch` into `buffer`, back to back. A cell (256 KiB of the disk's grid)
/// that is all zero becomes a zero range, and one that the receiver holds as it is becomes kSame;
/// neighbours of one other kind share a frame.
/// `pool`: the buffer's, which counts what is done with its bytes.
/// Requires: the batch's payload fits the buffer. Errors: of reading the source, with offset.
Result<BuiltFrames> build_frames(const ExtentQueue::Batch& batch, std::span<std::byte> buffer,
                                 std::uint64_t hash_seed, BufferPool& pool);

}  // namespace vhdxm::transfer
