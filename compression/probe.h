// Whether an extent is worth trying to compress, from a small sample of it.
//
// Compressing what cannot be compressed costs as much CPU as compressing text, and gains nothing.
// The probe reads 1 KiB of every 256 KiB, in windows of 64 bytes that are spread over it, and
// counts bytes: data whose bytes are all equally frequent is random, encrypted or compressed
// already. Then it looks whether the windows have 4-byte sequences in common, which no such data
// has. It misses extents of random bytes that repeat themselves, unless at a multiple of 64 KiB or
// within 64 bytes: these are sent as they are, which is never wrong.
#pragma once

#include <cstddef>
#include <span>

namespace vhdxm::compression {

/// The longest frame that is worth sending for an extent: it must save a sixteenth. Bytes.
constexpr std::size_t worthwhile_bytes_max(std::size_t raw_bytes) {
  return raw_bytes - raw_bytes / 16;
}

/// Extents shorter than this are always worth trying: too short for a sample, and cheap. Bytes.
inline constexpr std::size_t kProbeBytesMin = 4096;

struct ProbeResult {
  bool worth_trying = true;
  /// Bits that a byte carries by its frequency alone, mean of the pieces. Range: 0 to 8, or a
  /// little above, since it is an estimate; 8 if the extent is too short.
  double entropy_bits = 8;
  /// About the share of sampled places whose 4 bytes were seen before in the sample. Range: 0 to 1.
  /// Looked for only if the entropy says that it is not worth trying.
  double repeats = 0;
};

/// Cost: docs/compression.md#the-probe. No allocation. The same bytes give the same result.
ProbeResult probe(std::span<const std::byte> raw);

}  // namespace vhdxm::compression
