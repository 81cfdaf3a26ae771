// Hostile frames: {u32 raw bytes} and what came over the wire. Lengths are as transfer/frame.h lets
// them through: at least one byte, at most an extent.
// Oracle: what is accepted is what zstd's own decoder makes of it; the buffers are exact, so that
// AddressSanitizer sees any step out of them.
#include <zstd.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/little_endian.h"
#include "compression/compressor.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vhdxm;
  using namespace vhdxm::compression;
  constexpr std::size_t kSettingBytes = 4;
  constexpr std::uint32_t kExtentBytesMax = 1 << 20;
  if (size <= kSettingBytes) return 0;
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size));
  const std::uint32_t raw_bytes = 1 + load_raw<Le32>(input.data()) % kExtentBytesMax;
  const std::vector<std::byte> packed(input.begin() + kSettingBytes, input.end());
  std::vector<std::byte> raw(raw_bytes);

  static Decompressor decompressor;  // one for all, as in a stream
  const Result<void> result = decompressor.decompress(packed, raw);
  if (result.has_error()) {
    VHDXM_CHECK(*result.error().where != '\0');
    return 0;
  }
  std::vector<std::byte> expected(raw_bytes);
  const std::size_t length =
      ZSTD_decompress(expected.data(), expected.size(), packed.data(), packed.size());
  VHDXM_CHECK(length == raw_bytes && raw == expected);
  return 0;
}
