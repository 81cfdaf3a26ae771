// Any content at any level comes back: {u8 level, u8 times, u8 times} and content, which is taken
// that many times. Oracle: the content; a frame is never longer than the room for it.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "compression/compressor.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vhdxm;
  using namespace vhdxm::compression;
  constexpr std::size_t kSettingBytes = 3;
  constexpr std::size_t kExtentBytesMax = 256 << 10;
  if (size <= kSettingBytes) return 0;
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size));
  const int level = kLevelMin + data[0] % (kLevelMax - kLevelMin + 1);
  const std::size_t times = std::size_t{1} + data[1] + std::size_t{data[2]} * 256;
  std::vector<std::byte> raw;
  for (std::size_t i = 0; i < times && raw.size() < kExtentBytesMax; ++i) {
    raw.insert(raw.end(), input.begin() + kSettingBytes, input.end());
  }
  if (raw.size() > kExtentBytesMax) raw.resize(kExtentBytesMax);

  static Compressor compressor(kExtentBytesMax, kLevelMax);  // one for all, as in a stream
  static Decompressor decompressor;
  std::vector<std::byte> packed(raw.size() + 64);
  const auto length = compressor.compress(raw, level, packed);
  VHDXM_CHECK(length && *length <= packed.size());
  packed.resize(*length);
  packed.shrink_to_fit();
  std::vector<std::byte> unpacked(raw.size());
  VHDXM_CHECK(!decompressor.decompress(packed, unpacked).has_error());
  VHDXM_CHECK(unpacked == raw);

  std::vector<std::byte> short_room(packed.size() - 1);
  VHDXM_CHECK(!compressor.compress(raw, level, short_room));
  return 0;
}
