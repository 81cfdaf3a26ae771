#include "vhdx/header_section.h"

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/crc32c.h"
#include "vhdx/header.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::string_view kCreator = "VHDX Migrate";

std::vector<std::byte> encode_region_table(const FileLayout& layout) {
  std::vector<std::byte> bytes(kRegionTableBytes);
  const std::array<RawRegionTableEntry, 2> entries = {
      RawRegionTableEntry{.region = kMetadataRegion,
                          .file_offset = layout.metadata_offset,
                          .length = layout.metadata_bytes,
                          .required = 1},
      RawRegionTableEntry{.region = kBatRegion,
                          .file_offset = layout.bat_offset,
                          .length = layout.bat_bytes,
                          .required = 1}};
  RawRegionTableHeader header{};
  header.signature = kRegionSignature;
  header.entry_count = static_cast<std::uint32_t>(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    store_raw(bytes.data() + sizeof header + i * sizeof entries[i], entries[i]);
  }
  store_raw(bytes.data(), header);
  header.checksum = crc32c_with_field_zero(bytes, offsetof(RawRegionTableHeader, checksum));
  store_raw(bytes.data(), header);
  return bytes;
}

}  // namespace

Result<void> write_header_section(File& file, const FileLayout& layout,
                                  const Guid& data_write_guid) {
  const std::vector<std::byte> table = encode_region_table(layout);
  for (const std::uint64_t offset : kRegionTableOffsets) {
    VHDXM_TRY_VOID(file.write_at(offset, table));
  }

  Header header;
  header.file_write_guid = Guid::random();
  header.data_write_guid = data_write_guid;
  header.log_length = layout.log_bytes;
  header.log_offset = layout.log_offset;
  for (const std::uint64_t offset : kHeaderOffsets) {
    ++header.sequence_number;
    VHDXM_TRY_VOID(file.write_at(offset, encode_header(header)));
  }

  RawFileIdentifier identifier{};
  identifier.signature = kFileSignature;
  for (std::size_t i = 0; i < kCreator.size(); ++i) {
    identifier.creator[i] = static_cast<std::uint16_t>(kCreator[i]);
  }
  std::vector<std::byte> bytes(sizeof identifier);
  store_raw(bytes.data(), identifier);
  return file.write_at(kFileIdentifierOffset, bytes);
}

}  // namespace vhdxm::vhdx
