// What any stranger can send first: 32 bytes, taken for a preamble and for a refusal.
// Oracle: what is accepted encodes to the same bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "transfer/preamble.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vhdxm::transfer;
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size));
  PreambleBytes bytes{};
  std::copy_n(input.begin(), std::min(input.size(), bytes.size()), bytes.begin());
  if (const auto preamble = decode_preamble(bytes)) {
    VHDXM_CHECK(encode(*preamble) == bytes);
    VHDXM_CHECK(decode_refusal(bytes).has_error());
  }
  if (const auto refusal = decode_refusal(bytes)) {
    VHDXM_CHECK(encode(*refusal) == bytes);
    VHDXM_CHECK(refusal->version_min <= refusal->version_max);
  }
  return 0;
}
