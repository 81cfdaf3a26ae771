// Repairs damaged images. The input is one byte that chooses the kind of patches and what
// tests/support/damaged_image.h makes an image of: 0: patched_image(), else byte_patched_image().
//
// Oracle: tests/support/repair_oracle.h. A repair yields a sound image that shows what the disk
// showed before, and can be undone to the byte; or it leaves the file as it is.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>

#include "base/check.h"
#include "tests/support/damaged_image.h"
#include "tests/support/repair_oracle.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3 || size > 1024) return 0;
  const auto input = std::as_bytes(std::span(data, size)).subspan(1);
  const vhdxm::test::VhdxBuilder disk =
      data[0] == 0 ? vhdxm::test::patched_image(input) : vhdxm::test::byte_patched_image(input);
  const auto verdict = vhdxm::test::try_repair(disk.file());
  if (!verdict.broken.empty()) std::fprintf(stderr, "%s\n", verdict.broken.c_str());
  VHDXM_CHECK(verdict.broken.empty());
  return 0;
}
