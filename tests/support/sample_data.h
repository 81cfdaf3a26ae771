// Bytes of the kinds that disks are full of, made from a seed: for what looks at content.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vhdxm::test {

enum class SampleKind : std::uint8_t {
  // Worth compressing.
  kZeros,
  kMostlyZero,      ///< A few records in every 4 KiB.
  kText,            ///< Sentences of a few thousand words.
  kProgram,         ///< Machine code: the OpenSSL library that runs.
  kDatabase,        ///< 8 KiB pages: header, item pointers, rows with counters, names and noise.
  kBase64,          ///< Random, in 64 letters: entropy only, no repeats.
  kRepeatedRandom,  ///< 64 KiB of random bytes, again and again.
  // Not.
  kRandom,
  kEncrypted,     ///< AES-256-CTR of kText.
  kCompressed,    ///< zstd frames of kText, one behind the other.
  kEntropyCoded,  ///< As in a JPEG's scan: random, but that 0xff is always followed by 0.
};

inline constexpr SampleKind kCompressibleKinds[] = {SampleKind::kZeros,    SampleKind::kMostlyZero,
                                                    SampleKind::kText,     SampleKind::kProgram,
                                                    SampleKind::kDatabase, SampleKind::kBase64};
inline constexpr SampleKind kIncompressibleKinds[] = {SampleKind::kRandom, SampleKind::kEncrypted,
                                                      SampleKind::kCompressed,
                                                      SampleKind::kEntropyCoded};

const char* to_string(SampleKind kind);

std::vector<std::byte> sample_data(SampleKind kind, std::size_t size_bytes, std::uint64_t seed);

}  // namespace vhdxm::test
