#include "vhdx/log_writer.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::size_t kLeadingBytes = 8;
constexpr std::size_t kTrailingBytes = 4;

static_assert(sizeof(RawLogEntryHeader) + LogWriter::kPagesMax * sizeof(RawLogDescriptor) <=
              kLogSectorBytes);
static_assert(2 * (1 + LogWriter::kPagesMax) + 1 < kMiB / kLogSectorBytes);

/// The descriptor's part and the data sector's part of one page.
void put_page(const LogPageUpdate& update, std::uint64_t sequence_number, std::byte* descriptor,
              std::byte* sector) {
  std::memcpy(sector, update.bytes.data(), update.bytes.size());
  RawLogDescriptor raw{.signature = kDataDescriptorSignature,
                       .trailing_bytes = load_raw<Le32>(sector + kLogSectorBytes - kTrailingBytes),
                       .leading_bytes_or_length = load_raw<Le64>(sector),
                       .file_offset = update.file_offset,
                       .sequence_number = sequence_number};
  store_raw(descriptor, raw);
  // The sequence number takes the place of the bytes that the descriptor carries: a torn sector
  // shows (2.3.1.4).
  store_raw(sector, Le32(kDataSectorSignature));
  store_raw(sector + sizeof(Le32), Le32(static_cast<std::uint32_t>(sequence_number >> 32)));
  store_raw(sector + kLogSectorBytes - kTrailingBytes,
            Le32(static_cast<std::uint32_t>(sequence_number)));
  static_assert(kLeadingBytes == 2 * sizeof(Le32));
}

}  // namespace

LogWriter::LogWriter(File& file, std::uint64_t log_offset, std::uint32_t log_length,
                     const Guid& log_guid)
    : file_(file), log_offset_(log_offset), log_length_(log_length), log_guid_(log_guid) {
  VHDXM_CHECK(log_length >= kMiB && !log_guid.is_zero());
}

Result<void> LogWriter::append(std::span<const LogPageUpdate> updates, const FileSizes& sizes) {
  VHDXM_CHECK(updates.size() <= kPagesMax && sizes.needed % kMiB == 0);
  std::vector<std::byte> entry((1 + updates.size()) * kLogSectorBytes);
  RawLogEntryHeader header{.signature = kLogEntrySignature,
                           .checksum = 0,
                           .entry_length = static_cast<std::uint32_t>(entry.size()),
                           .tail = static_cast<std::uint32_t>(next_),
                           .sequence_number = sequence_number_,
                           .descriptor_count = static_cast<std::uint32_t>(updates.size()),
                           .reserved = 0,
                           .log_guid = log_guid_,
                           .flushed_file_offset = sizes.durable / kMiB * kMiB,
                           .last_file_offset = sizes.needed};
  store_raw(entry.data(), header);
  for (std::size_t i = 0; i < updates.size(); ++i) {
    put_page(updates[i], sequence_number_,
             entry.data() + sizeof header + i * sizeof(RawLogDescriptor),
             entry.data() + (1 + i) * kLogSectorBytes);
  }
  header.checksum = crc32c_with_field_zero(entry, offsetof(RawLogEntryHeader, checksum));
  store_raw(entry.data(), header);

  // The log is a ring (2.3): what does not fit before its end goes on at its start.
  const auto before_end =
      static_cast<std::size_t>(std::min<std::uint64_t>(entry.size(), log_length_ - next_));
  VHDXM_TRY_VOID(file_.write_at(log_offset_ + next_, std::span(entry).first(before_end)));
  VHDXM_TRY_VOID(file_.write_at(log_offset_, std::span(entry).subspan(before_end)));
  next_ = (next_ + entry.size()) % log_length_;
  ++sequence_number_;
  return {};
}

}  // namespace vhdxm::vhdx
