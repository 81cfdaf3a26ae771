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
#include "tests/support/vhdx_builder.h"
#include "vhdx/check.h"
#include "vhdx/layer.h"

namespace {

using namespace vhdxm;
using namespace vhdxm::vhdx;
using test::VhdxBuilder;

constexpr Guid kLogGuid = guid_literal("10910910-9109-1091-0910-910910910910");

VhdxBuilder make_image(std::uint8_t kind) {
  VhdxBuilder::Options options;
  options.leave_allocated = kind % 4 == 1;
  if (kind % 4 == 2) {
    options.locator = {{"parent_linkage", test::braced(kLogGuid)},
                       {"parent_linkage2", test::braced(Guid{})},
                       {"absolute_win32_path", "C:\\p.vhdx"}};
  }
  if (kind % 4 == 3) options.log_guid = kLogGuid;
  if ((kind & 4) != 0) options.logical_sector = 4096;
  VhdxBuilder disk(options);
  for (const std::uint64_t block : {0U, 3U, 6U}) disk.add_block(block, 1);
  if (kind % 4 == 2) {
    disk.add_bitmap(0);
    disk.set_bits(4 * kMiB / options.logical_sector, 4 * kMiB / options.logical_sector + 3);
    disk.add_block(4, 2, 7);
  }
  if (kind % 4 == 3) {
    disk.add_log_entry(0, {.sequence_number = 5,
                           .flushed_file_offset = disk.size(),
                           .last_file_offset = disk.size() + kMiB,
                           .descriptors = {{.file_offset = VhdxBuilder::kBatAt,
                                            .sector = disk.get(VhdxBuilder::kBatAt, 4096)}}});
  }
  return disk;
}

constexpr std::array<std::uint64_t, 10> kPlaces = {0,
                                                   VhdxBuilder::kHeaderAt[0],
                                                   VhdxBuilder::kHeaderAt[1],
                                                   VhdxBuilder::kRegionTableAt[0],
                                                   VhdxBuilder::kRegionTableAt[1],
                                                   VhdxBuilder::kLogAt,
                                                   VhdxBuilder::kMetadataAt,
                                                   VhdxBuilder::kMetadataAt + 65536,
                                                   VhdxBuilder::kBatAt,
                                                   4 * kMiB};

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
  std::span<const std::byte> input = std::as_bytes(std::span(data, size));
  VhdxBuilder disk = make_image(data[0]);
  for (input = input.subspan(1); input.size() >= 4; input = input.subspan(4)) {
    const std::uint64_t place = kPlaces[std::to_integer<unsigned>(input[0]) % kPlaces.size()];
    disk.put8(place + load_raw<Le16>(input.data() + 1), std::to_integer<std::uint8_t>(input[3]));
  }
  if ((data[0] & 0x80) == 0) {
    for (const int i : {0, 1}) {
      disk.seal_header(i);
      disk.seal_region_table(i);
    }
  }
  const std::uint64_t bytes = disk.size();
  const std::vector<std::byte> before = disk.get(0, 5 * kMiB);
  const auto report = check(disk.file());
  VHDXM_CHECK(!report.has_error());
  for (const Finding& finding : report->findings) VHDXM_CHECK(!finding.what.empty());
  if (!report->corrupt()) use(disk.file());
  VHDXM_CHECK(disk.size() == bytes && disk.get(0, 5 * kMiB) == before);
  return 0;
}
