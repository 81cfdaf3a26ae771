#include "vhdx/repair_log.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "vhdx/log_replay.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::size_t kSector = kLogSectorBytes;

/// Sectors that the header and `count` descriptors take: 126 fit behind the header, 128 elsewhere.
constexpr std::size_t descriptor_sectors(std::size_t count) {
  return (sizeof(RawLogEntryHeader) + count * sizeof(RawLogDescriptor) + kSector - 1) / kSector;
}

/// An entry that is its own tail, at the start of the log. `file_bytes`: a multiple of 1 MiB; a
/// last part of the file that is less holds no object.
std::vector<std::byte> encode_entry(std::span<const SectorChange> sectors, const Guid& log_guid,
                                    std::uint64_t file_bytes) {
  constexpr std::uint64_t kSequence = 1;
  const std::size_t first_data = descriptor_sectors(sectors.size()) * kSector;
  std::vector<std::byte> entry(first_data + sectors.size() * kSector);
  for (std::size_t i = 0; i < sectors.size(); ++i) {
    const OverlayFile::Sector& content = sectors[i].content;
    // The first 8 and the last 4 bytes travel in the descriptor; signature and sequence number
    // stand in their place.
    RawLogDescriptor descriptor{};
    descriptor.signature = kDataDescriptorSignature;
    descriptor.trailing_bytes = load_raw<Le32>(content.data() + kSector - 4);
    descriptor.leading_bytes_or_length = load_raw<Le64>(content.data());
    descriptor.file_offset = sectors[i].file_offset;
    descriptor.sequence_number = kSequence;
    store_raw(entry.data() + sizeof(RawLogEntryHeader) + i * sizeof descriptor, descriptor);
    RawLogDataSector data{};
    data.signature = kDataSectorSignature;
    data.sequence_high = static_cast<std::uint32_t>(kSequence >> 32);
    std::memcpy(data.data.data(), content.data() + 8, data.data.size());
    data.sequence_low = static_cast<std::uint32_t>(kSequence);
    store_raw(entry.data() + first_data + i * kSector, data);
  }
  RawLogEntryHeader header{};
  header.signature = kLogEntrySignature;
  header.entry_length = static_cast<std::uint32_t>(entry.size());
  header.sequence_number = kSequence;
  header.descriptor_count = static_cast<std::uint32_t>(sectors.size());
  header.log_guid = log_guid;
  header.flushed_file_offset = file_bytes;
  header.last_file_offset = file_bytes;
  store_raw(entry.data(), header);
  header.checksum = crc32c_with_field_zero(entry, offsetof(RawLogEntryHeader, checksum));
  store_raw(entry.data(), header);
  return entry;
}

}  // namespace

std::size_t log_entry_capacity(std::uint64_t log_bytes) {
  // One sector of the log stays free (2.3): an entry is smaller than the log.
  const auto usable = static_cast<std::size_t>(log_bytes / kSector);
  if (usable < 3) return 0;
  std::size_t count = usable - 2;
  while (descriptor_sectors(count) + count > usable - 1) --count;
  return count;
}

Result<Header> change_through_log(const std::shared_ptr<File>& file, const Header& header,
                                  std::span<const SectorChange> sectors,
                                  const Guid& file_write_guid) {
  VHDXM_CHECK(header.log_guid.is_zero() && sectors.size() <= log_entry_capacity(header.log_length));
  VHDXM_TRY(const std::uint64_t file_bytes, file->size());
  VHDXM_CHECK(header.log_end() <= file_bytes);
  Header changed = header;
  changed.file_write_guid = file_write_guid;
  changed.log_guid = Guid::random();
  // Nobody reads the log before a header names it, so the entry is durable first.
  VHDXM_TRY_VOID(file->write_at(header.log_offset,
                                encode_entry(sectors, changed.log_guid, file_bytes / kMiB * kMiB)));
  VHDXM_TRY_VOID(file->sync());
  VHDXM_TRY(changed, update_headers(*file, changed));
  VHDXM_TRY(const ReplayedFile replayed, replay_on_file(file, changed, file_write_guid));
  return replayed.header;
}

}  // namespace vhdxm::vhdx
