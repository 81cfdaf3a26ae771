// Checks damaged images. The input is {u8 image} and patches of one byte to a built-in image:
// {u8 place, u16 offset in the place, u8 value}. Checksums are made good afterwards unless bit 7 of
// the first byte is set.
//
// Oracle: check() never fails and never changes the file; what it does not call corrupt opens, and
// all of it can be mapped.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/little_endian.h"
#include "tests/support/damaged_image.h"
#include "vhdx/check.h"
#include "vhdx/layer.h"

namespace {

using namespace vhdxm;
using namespace vhdxm::vhdx;
using test::VhdxBuilder;

void use(const std::shared_ptr<MemoryFile>& file) {
  auto layer = Layer::open(file, Layer::Replay::kInMemory);
  VHDXM_CHECK(!layer.has_error());
  VHDXM_CHECK(!(*layer)->validate_bat().has_error());
  const std::uint64_t size = (*layer)->geometry().virtual_size_bytes;
  std::vector<Extent> extents;
  for (std::uint64_t at = 0; at < std::min(size, kGiB);) {
    extents.clear();
    const auto mapped = (*layer)->map(at, size - at, extents, 1000);
    VHDXM_CHECK(!mapped.has_error());
    at = *mapped;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 1024) return 0;
  VhdxBuilder disk = test::byte_patched_image(std::as_bytes(std::span(data, size)));
  const std::uint64_t bytes = disk.size();
  const std::vector<std::byte> before = disk.get(0, 5 * kMiB);
  const auto report = check(disk.file());
  VHDXM_CHECK(!report.has_error());
  for (const Finding& finding : report->findings) VHDXM_CHECK(!finding.what.empty());
  if (!report->corrupt()) use(disk.file());
  VHDXM_CHECK(disk.size() == bytes && disk.get(0, 5 * kMiB) == before);
  return 0;
}
