#include "vhdx/repair_backup.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "base/hash128.h"
#include "vhdx/errc.h"
#include "vhdx/format.h"
#include "vhdx/header.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::uint64_t kSignature = 0x6f646e7578646876;  // "vhdxundo"
constexpr std::uint32_t kRecordSignature = 0x6f646e75;    // "undo"
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kRecordBytesMax = kMiB;
constexpr std::uint64_t kSkippedBytes = 4 * kKiB;  // of what is cut off: zeros are not kept

struct RawBackupHeader {
  Le64 signature;
  Le32 checksum;
  Le32 version;
  Le64 disk_bytes;
  Le64 backup_bytes;
  Le64 record_count;
  Le32 valid_headers;
  Le32 reserved;
  Guid file_write_guid;
  std::array<Guid, 2> file_write_guids_before;
  std::array<Le64, 4> reserved2;
};
static_assert(sizeof(RawBackupHeader) == 128 && alignof(RawBackupHeader) == 1);

struct RawBackupRecord {
  Le32 signature;
  Le32 checksum;
  Le64 offset;
  Le32 length;
  Le32 reserved;
};
static_assert(sizeof(RawBackupRecord) == 24);

class BackupWriter {
 public:
  BackupWriter(File& disk, File& backup) : disk_(disk), backup_(backup) {}

  /// Keeps [range.begin, range.end); of what will be `cleared`, only sectors that are not zero.
  Result<void> keep(FileRange range, bool cleared) {
    while (range.begin < range.end) {
      if (cleared) {
        VHDXM_TRY(const File::DataRun data, disk_.next_data(range.begin));
        if (data.begin >= data.end || data.begin >= range.end) return {};
        range.begin = std::max(range.begin, data.begin / kSkippedBytes * kSkippedBytes);
      }
      const std::uint64_t length = std::min(range.end - range.begin, kRecordBytesMax);
      std::vector<std::byte> bytes(static_cast<std::size_t>(length));
      VHDXM_TRY_VOID(read_exact_at(disk_, range.begin, bytes, "what is to be changed"));
      VHDXM_TRY_VOID(cleared ? keep_data(range.begin, bytes) : put(range.begin, bytes));
      range.begin += length;
    }
    return {};
  }

  Result<void> finish(RawBackupHeader header) {
    header.signature = kSignature;
    header.version = kVersion;
    header.backup_bytes = at_;
    header.record_count = records_;
    std::array<std::byte, sizeof header> bytes{};
    store_raw(bytes.data(), header);
    header.checksum = crc32c_with_field_zero(bytes, offsetof(RawBackupHeader, checksum));
    store_raw(bytes.data(), header);
    VHDXM_TRY_VOID(backup_.write_at(0, bytes));
    return backup_.sync();
  }

 private:
  Result<void> keep_data(std::uint64_t offset, std::span<const std::byte> bytes) {
    const auto is_zero = [&](std::size_t at) {
      return all_zero(bytes.subspan(at, std::min<std::size_t>(kSkippedBytes, bytes.size() - at)));
    };
    for (std::size_t at = 0; at < bytes.size();) {
      std::size_t end = at;
      while (end < bytes.size() && !is_zero(end)) {
        end = std::min(bytes.size(), end + static_cast<std::size_t>(kSkippedBytes));
      }
      if (end > at) VHDXM_TRY_VOID(put(offset + at, bytes.subspan(at, end - at)));
      at = std::max(end, at + static_cast<std::size_t>(kSkippedBytes));
    }
    return {};
  }

  Result<void> put(std::uint64_t offset, std::span<const std::byte> bytes) {
    RawBackupRecord record{};
    record.signature = kRecordSignature;
    record.offset = offset;
    record.length = static_cast<std::uint32_t>(bytes.size());
    std::vector<std::byte> all(sizeof record + bytes.size());
    store_raw(all.data(), record);
    std::memcpy(all.data() + sizeof record, bytes.data(), bytes.size());
    record.checksum = crc32c_with_field_zero(all, offsetof(RawBackupRecord, checksum));
    store_raw(all.data(), record);
    VHDXM_TRY_VOID(backup_.write_at(at_, all));
    at_ += all.size();
    ++records_;
    return {};
  }

  File& disk_;
  File& backup_;
  std::uint64_t at_ = sizeof(RawBackupHeader);
  std::uint64_t records_ = 0;
};

Error bad_backup(const char* where, std::uint64_t offset) {
  return format_error(Errc::kBadBackup, where, offset);
}

Result<RawBackupHeader> read_header(File& backup) {
  std::array<std::byte, sizeof(RawBackupHeader)> bytes{};
  VHDXM_TRY(const std::size_t got, backup.read_some_at(0, bytes));
  const auto header = load_raw<RawBackupHeader>(bytes.data());
  if (got < bytes.size() || header.signature != kSignature) return bad_backup("signature", 0);
  if (header.checksum != crc32c_with_field_zero(bytes, offsetof(RawBackupHeader, checksum))) {
    return bad_backup("checksum of the header", offsetof(RawBackupHeader, checksum));
  }
  if (header.version != kVersion) return bad_backup("version", offsetof(RawBackupHeader, version));
  VHDXM_TRY(const std::uint64_t size, backup.size());
  if (header.backup_bytes != size) return bad_backup("length of the file", size);
  if (header.disk_bytes > kFileBytesMax) {
    return bad_backup("length of the disk", offsetof(RawBackupHeader, disk_bytes));
  }
  return header;
}

/// Visits every record, proved whole: visit(offset, bytes).
template <class Visit>
Result<void> for_each_record(File& backup, const RawBackupHeader& header, Visit visit) {
  std::uint64_t at = sizeof header;
  std::vector<std::byte> all;
  for (std::uint64_t i = 0; i < header.record_count; ++i) {
    std::array<std::byte, sizeof(RawBackupRecord)> head{};
    VHDXM_TRY(const std::size_t got, backup.read_some_at(at, head));
    const auto record = load_raw<RawBackupRecord>(head.data());
    if (got < head.size() || record.signature != kRecordSignature) {
      return bad_backup("record", at);
    }
    const std::uint64_t offset = record.offset;
    if (record.length > kRecordBytesMax || offset > header.disk_bytes ||
        record.length > header.disk_bytes - offset) {
      return bad_backup("place of a record", at);
    }
    all.resize(sizeof record + record.length);
    VHDXM_TRY(const std::size_t whole, backup.read_some_at(at, all));
    if (whole < all.size() ||
        record.checksum != crc32c_with_field_zero(all, offsetof(RawBackupRecord, checksum))) {
      return bad_backup("checksum of a record", at);
    }
    VHDXM_TRY_VOID(visit(offset, std::span<const std::byte>(all).subspan(sizeof record)));
    at += all.size();
  }
  if (at != header.backup_bytes) return bad_backup("what follows the last record", at);
  return {};
}

/// Only who repaired the disk, or wrote it last before that, may stand in its headers.
Result<void> require_unwritten_since(File& disk, const RawBackupHeader& header) {
  VHDXM_TRY(const HeaderSlots slots, read_header_slots(disk));
  const auto& before = header.file_write_guids_before;
  bool known = false;
  for (std::size_t i = 0; i < slots.slots.size(); ++i) {
    if (slots.slots[i].state != HeaderSlot::State::kValid) continue;
    const Guid& guid = slots.slots[i].header.file_write_guid;
    known = guid == header.file_write_guid ||
            ((header.valid_headers & 1) != 0 && guid == before[0]) ||
            ((header.valid_headers & 2) != 0 && guid == before[1]);
    if (!known) {
      return format_error(Errc::kBackupMismatch, "FileWriteGuid, [MS-VHDX] 2.2.2",
                          kHeaderOffsets[i] + offsetof(RawHeader, file_write_guid));
    }
  }
  if (known) return {};
  return format_error(Errc::kBackupMismatch, "headers, [MS-VHDX] 2.2.2", kHeaderOffsets[0]);
}

std::size_t slot_at(std::uint64_t offset) {
  return static_cast<std::size_t>(std::find(kHeaderOffsets.begin(), kHeaderOffsets.end(), offset) -
                                  kHeaderOffsets.begin());
}

}  // namespace

Result<void> write_repair_backup(const RepairPlan& plan, File& backup) {
  const RehearsalFile& rehearsal = *plan.rehearsal;
  RawBackupHeader header{};
  header.disk_bytes = rehearsal.base_bytes();
  header.file_write_guid = plan.file_write_guid;
  VHDXM_TRY(const HeaderSlots slots, read_header_slots(rehearsal.base()));
  for (std::size_t i = 0; i < slots.slots.size(); ++i) {
    if (slots.slots[i].state != HeaderSlot::State::kValid) continue;
    header.valid_headers = header.valid_headers | 1U << i;
    header.file_write_guids_before[i] = slots.slots[i].header.file_write_guid;
  }
  BackupWriter writer(rehearsal.base(), backup);
  for (const FileRange& range : rehearsal.overwritten()) {
    VHDXM_TRY_VOID(writer.keep(range, /*cleared=*/false));
  }
  for (const FileRange& range : rehearsal.cleared()) {
    VHDXM_TRY_VOID(writer.keep(range, /*cleared=*/true));
  }
  return writer.finish(header);
}

Result<void> validate_repair_backup(File& backup) {
  VHDXM_TRY(const RawBackupHeader header, read_header(backup));
  return for_each_record(backup, header,
                         [](std::uint64_t, std::span<const std::byte>) { return Result<void>{}; });
}

Result<void> undo_repair(File& disk, File& backup) {
  VHDXM_TRY_VOID(validate_repair_backup(backup));
  VHDXM_TRY(const RawBackupHeader header, read_header(backup));
  VHDXM_TRY_VOID(require_unwritten_since(disk, header));
  VHDXM_TRY(const std::uint64_t now, disk.size());
  if (now < header.disk_bytes) VHDXM_TRY_VOID(disk.resize(header.disk_bytes));
  // The headers come last, the one that was valid first: stopped anywhere, one of them is valid and
  // tells that this backup fits.
  std::array<std::vector<std::byte>, 2> headers;
  const auto restore = [&](std::uint64_t offset, std::span<const std::byte> bytes) -> Result<void> {
    if (const std::size_t slot = slot_at(offset); slot < headers.size()) {
      headers[slot].assign(bytes.begin(), bytes.end());
      return {};
    }
    return disk.write_at(offset, bytes);
  };
  VHDXM_TRY_VOID(for_each_record(backup, header, restore));
  if (now > header.disk_bytes) VHDXM_TRY_VOID(disk.resize(header.disk_bytes));
  VHDXM_TRY_VOID(disk.sync());
  const std::size_t first = (header.valid_headers & 1) != 0 ? 0 : 1;
  for (const std::size_t slot : {first, 1 - first}) {
    if (headers[slot].empty()) continue;
    VHDXM_TRY_VOID(disk.write_at(kHeaderOffsets[slot], headers[slot]));
    VHDXM_TRY_VOID(disk.sync());
  }
  return {};
}

}  // namespace vhdxm::vhdx
