#include "vhdx/header.h"

#include <algorithm>
#include <limits>

#include "base/crc32c.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using HeaderPage = std::array<std::byte, kHeaderBytes>;

Header fields_of(const RawHeader& raw) {
  return {.sequence_number = raw.sequence_number,
          .file_write_guid = raw.file_write_guid,
          .data_write_guid = raw.data_write_guid,
          .log_guid = raw.log_guid,
          .log_version = raw.log_version,
          .version = raw.version,
          .log_length = raw.log_length,
          .log_offset = raw.log_offset};
}

HeaderSlot judge(const HeaderPage& page, std::size_t bytes_read) {
  if (bytes_read < page.size()) return {};
  const auto raw = load_raw<RawHeader>(page.data());
  HeaderSlot slot{.state = HeaderSlot::State::kValid, .header = fields_of(raw)};
  if (raw.signature != kHeaderSignature) {
    slot.state = HeaderSlot::State::kBadSignature;
  } else if (raw.checksum != crc32c_with_field_zero(page, offsetof(RawHeader, checksum))) {
    slot.state = HeaderSlot::State::kBadChecksum;
  }
  return slot;
}

}  // namespace

Result<HeaderSlots> read_header_slots(File& file) {
  HeaderSlots result;
  std::array<HeaderPage, 2> pages{};
  for (std::size_t i = 0; i < 2; ++i) {
    VHDXM_TRY(const std::size_t got, file.read_some_at(kHeaderOffsets[i], pages[i]));
    result.slots[i] = judge(pages[i], got);
  }
  result.identical = pages[0] == pages[1];
  return result;
}

Result<std::size_t> current_slot(const HeaderSlots& slots) {
  const bool first = slots.slots[0].state == HeaderSlot::State::kValid;
  const bool second = slots.slots[1].state == HeaderSlot::State::kValid;
  if (!first && !second) {
    return format_error(Errc::kNoValidHeader, "headers, [MS-VHDX] 2.2.2", kHeaderOffsets[0]);
  }
  if (!first || !second) return std::size_t{first ? 0U : 1U};
  const std::uint64_t a = slots.slots[0].header.sequence_number;
  const std::uint64_t b = slots.slots[1].header.sequence_number;
  // Disk2vhd writes one header twice, sequence number included: then there is nothing to choose.
  if (a == b && !slots.identical) {
    return format_error(Errc::kAmbiguousHeaders, "SequenceNumber, [MS-VHDX] 2.2.2",
                        kHeaderOffsets[1] + offsetof(RawHeader, sequence_number), b);
  }
  return std::size_t{b > a ? 1U : 0U};
}

Result<void> validate_header(const Header& header, std::size_t slot) {
  const std::uint64_t base = kHeaderOffsets[slot];
  if (header.version != kFormatVersion) {
    return format_error(Errc::kUnsupportedVersion, "header Version, [MS-VHDX] 2.2.2",
                        base + offsetof(RawHeader, version), header.version, kFormatVersion);
  }
  const bool has_log = !header.log_guid.is_zero();
  if (has_log && header.log_version != kLogVersion) {
    return format_error(Errc::kUnsupportedLogVersion, "header LogVersion, [MS-VHDX] 2.2.2",
                        base + offsetof(RawHeader, log_version), header.log_version, kLogVersion);
  }
  const std::uint64_t length_at = base + offsetof(RawHeader, log_length);
  const std::uint64_t offset_at = base + offsetof(RawHeader, log_offset);
  if (header.log_length % kObjectAlignment != 0) {
    return format_error(Errc::kBadLogLocation,
                        "header LogLength must be a multiple of 1 MiB, [MS-VHDX] 2.2.2", length_at,
                        header.log_length);
  }
  if (header.log_offset % kObjectAlignment != 0) {
    return format_error(Errc::kBadLogLocation,
                        "header LogOffset must be a multiple of 1 MiB, [MS-VHDX] 2.2.2", offset_at,
                        header.log_offset);
  }
  if (header.log_length == 0) {
    if (!has_log) return {};
    return format_error(Errc::kBadLogLocation,
                        "header LogLength is zero though LogGuid names a log, [MS-VHDX] 2.2.2",
                        length_at, 0);
  }
  if (header.log_offset < kHeaderSectionBytes) {
    return format_error(Errc::kBadLogLocation,
                        "header LogOffset lies in the header section, [MS-VHDX] 2.2.2", offset_at,
                        header.log_offset);
  }
  // So that log_end() cannot wrap.
  if (header.log_offset > std::numeric_limits<std::uint64_t>::max() - header.log_length) {
    return format_error(Errc::kBadLogLocation,
                        "header LogOffset plus LogLength exceeds 2^64, [MS-VHDX] 2.2.2", offset_at,
                        header.log_offset);
  }
  return {};
}

Result<Header> select_header(File& file) {
  VHDXM_TRY(const HeaderSlots slots, read_header_slots(file));
  VHDXM_TRY(const std::size_t current, current_slot(slots));
  const Header& header = slots.slots[current].header;
  VHDXM_TRY_VOID(validate_header(header, current));
  return header;
}

std::array<std::byte, kHeaderBytes> encode_header(const Header& header) {
  HeaderPage page{};
  RawHeader raw{.signature = kHeaderSignature,
                .checksum = 0,
                .sequence_number = header.sequence_number,
                .file_write_guid = header.file_write_guid,
                .data_write_guid = header.data_write_guid,
                .log_guid = header.log_guid,
                .log_version = header.log_version,
                .version = header.version,
                .log_length = header.log_length,
                .log_offset = header.log_offset};
  store_raw(page.data(), raw);
  raw.checksum = crc32c_with_field_zero(page, offsetof(RawHeader, checksum));
  store_raw(page.data(), raw);
  return page;
}

Result<Header> update_headers(File& file, Header changed) {
  VHDXM_TRY(const HeaderSlots slots, read_header_slots(file));
  VHDXM_TRY(const std::size_t current, current_slot(slots));
  const std::uint64_t sequence = slots.slots[current].header.sequence_number;
  if (sequence > std::numeric_limits<std::uint64_t>::max() - 2) {
    return format_error(Errc::kSequenceExhausted, "header SequenceNumber, [MS-VHDX] 2.2.2.1",
                        kHeaderOffsets[current] + offsetof(RawHeader, sequence_number), sequence);
  }
  for (std::size_t i = 1; i <= 2; ++i) {
    changed.sequence_number = sequence + i;
    const std::size_t slot = (current + i) % 2;
    VHDXM_TRY_VOID(file.write_at(kHeaderOffsets[slot], encode_header(changed)));
    VHDXM_TRY_VOID(file.sync());
  }
  return changed;
}

}  // namespace vhdxm::vhdx
