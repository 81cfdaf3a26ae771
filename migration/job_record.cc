#include "migration/job_record.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "base/crc32c.h"
#include "base/directory.h"
#include "base/little_endian.h"
#include "migration/disk_registry.h"
#include "migration/errc.h"

namespace vhdxm::migration {
namespace {

constexpr std::array<std::uint8_t, 8> kJobMagic = {'V', 'H', 'D', 'X', 'M', 'H', 'O', 'V'};
constexpr std::uint16_t kJobVersion = 1;
constexpr std::size_t kFolderBytesMax = 4096;
constexpr std::size_t kDiskNameBytesMax = 240;

// Behind the header, for each disk: RawJobDisk, the folder's bytes, the name's bytes. Then the
// group's name.
struct RawJob {
  std::array<std::uint8_t, 8> magic;
  Le16 version;
  std::uint8_t state;
  std::uint8_t forced;
  Le32 checksum;  ///< CRC-32C of the whole file, with zero here.
  JobId job;
  AttemptId attempt;
  HostId source;
  HostId target;
  Le32 disk_count;
  Le16 group_bytes;
  Le16 reserved;
};
static_assert(sizeof(RawJob) == 88 && alignof(RawJob) == 1);
constexpr std::size_t kJobChecksumAt = 12;

struct RawJobDisk {
  OwnershipId id;
  Le64 epoch;
  Le64 ledger_low;
  Le64 ledger_high;
  Le16 folder_bytes;
  Le16 name_bytes;
  std::uint8_t moves_back;
  std::array<std::uint8_t, 3> reserved;
};
static_assert(sizeof(RawJobDisk) == 48 && alignof(RawJobDisk) == 1);
static_assert(sizeof(RawJob) +
                  kJobDisksMax * (sizeof(RawJobDisk) + kFolderBytesMax + kDiskNameBytesMax) <=
              kJobRecordBytesMax);

Error bad_job(const char* where) {
  return Error{.code = Errc::kRecord, .where = where};
}

void append(std::vector<std::byte>& bytes, const void* data, std::size_t size) {
  const auto* from = static_cast<const std::byte*>(data);
  bytes.insert(bytes.end(), from, from + size);
}

std::string take_text(std::span<const std::byte>& rest, std::size_t size) {
  std::string text(size, '\0');
  std::transform(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(size), text.begin(),
                 [](std::byte b) { return static_cast<char>(b); });
  rest = rest.subspan(size);
  return text;
}

Result<JobDisk> take_disk(std::span<const std::byte>& rest) {
  if (rest.size() < sizeof(RawJobDisk)) return bad_job("job record: cut short");
  const auto raw = load_raw<RawJobDisk>(rest.data());
  rest = rest.subspan(sizeof raw);
  if (raw.folder_bytes > kFolderBytesMax || raw.name_bytes > kDiskNameBytesMax) {
    return bad_job("job record: length of a path");
  }
  // Both are bounded above: the sum cannot wrap.
  if (rest.size() < std::size_t{raw.folder_bytes} + raw.name_bytes) {
    return bad_job("job record: cut short");
  }
  if (raw.moves_back > 1 || raw.reserved != decltype(raw.reserved){}) {
    return bad_job("job record: reserved bytes");
  }
  JobDisk disk{.terms = {.id = raw.id,
                         .epoch = raw.epoch,
                         .ledger = {.low = raw.ledger_low, .high = raw.ledger_high}},
               .moves_back = raw.moves_back == 1};
  disk.place.folder = take_text(rest, raw.folder_bytes);
  disk.place.name = take_text(rest, raw.name_bytes);
  return disk;
}

Result<void> check_disks(const JobRecord& record) {
  std::set<OwnershipId> ids;
  std::set<DiskPlace> places;
  for (const JobDisk& disk : record.disks) {
    const DiskPlace& place = disk.place;
    if (disk.terms.id.is_zero()) return bad_job("job record: the ownership id is zero");
    if (disk.terms.epoch == 0 || disk.terms.epoch > kEpochMax) return bad_job("job record: epoch");
    if (place.folder.empty() || place.folder.find('\0') != std::string::npos ||
        !Directory::is_plain_name(place.name)) {
      return bad_job("job record: a path that cannot be");
    }
    if (disk.moves_back && is_of_source(record.state)) {
      return bad_job("job record: a source's disk that moves back");
    }
    if (!ids.insert(disk.terms.id).second || !places.insert(place).second) {
      return bad_job("job record: a disk that is there twice");
    }
  }
  return {};
}

Result<void> check(const JobRecord& record) {
  if (record.job == JobId{}) return bad_job("job record: the job's id is zero");
  const bool none = record.attempt.is_zero();
  switch (record.state) {
    case JobState::kActive:
    case JobState::kReceiving:
      if (!none) return bad_job("job record: an attempt before it was agreed");
      break;
    case JobState::kReleased:
    case JobState::kPrepared:
    case JobState::kOwned:
      if (none) return bad_job("job record: no attempt");
      break;
    case JobState::kConfirmed:
    case JobState::kReclaimed:
      break;
  }
  if (record.source.is_zero() || record.target.is_zero() || record.source == record.target) {
    return bad_job("job record: hosts");
  }
  if (record.forced && record.state != JobState::kOwned) return bad_job("job record: forced");
  if (!record.group.empty() && !is_disk_name(record.group)) {
    return bad_job("job record: a name that no group can have");
  }
  if (record.disks.empty()) return bad_job("job record: no disks");
  return check_disks(record);
}

}  // namespace

bool is_of_source(JobState state) {
  return state <= JobState::kReclaimed;
}

const char* to_string(JobState state) {
  switch (state) {
    case JobState::kActive:
      return "active";
    case JobState::kReleased:
      return "released";
    case JobState::kConfirmed:
      return "confirmed";
    case JobState::kReclaimed:
      return "reclaimed";
    case JobState::kReceiving:
      return "receiving";
    case JobState::kPrepared:
      return "prepared";
    case JobState::kOwned:
      return "owned";
  }
  return "unknown";
}

HandoverTerms JobRecord::terms() const {
  HandoverTerms terms{.job = job, .attempt = attempt, .source = source, .target = target};
  for (const JobDisk& disk : disks) terms.disks.push_back(disk.terms);
  return terms;
}

std::uint64_t JobRecord::new_epoch(const JobDisk& disk) const {
  return disk.terms.epoch + (forced || state == JobState::kReclaimed ? 2 : 1);
}

std::vector<std::byte> encode(const JobRecord& record) {
  RawJob raw{};
  raw.magic = kJobMagic;
  raw.version = kJobVersion;
  raw.state = static_cast<std::uint8_t>(record.state);
  raw.forced = record.forced ? 1 : 0;
  raw.job = record.job;
  raw.attempt = record.attempt;
  raw.source = record.source;
  raw.target = record.target;
  raw.disk_count = static_cast<std::uint32_t>(record.disks.size());
  raw.group_bytes = static_cast<std::uint16_t>(record.group.size());
  std::vector<std::byte> bytes;
  append(bytes, &raw, sizeof raw);
  for (const JobDisk& disk : record.disks) {
    RawJobDisk raw_disk{};
    raw_disk.id = disk.terms.id;
    raw_disk.epoch = disk.terms.epoch;
    raw_disk.ledger_low = disk.terms.ledger.low;
    raw_disk.ledger_high = disk.terms.ledger.high;
    raw_disk.folder_bytes = static_cast<std::uint16_t>(disk.place.folder.size());
    raw_disk.name_bytes = static_cast<std::uint16_t>(disk.place.name.size());
    raw_disk.moves_back = disk.moves_back ? 1 : 0;
    append(bytes, &raw_disk, sizeof raw_disk);
    append(bytes, disk.place.folder.data(), disk.place.folder.size());
    append(bytes, disk.place.name.data(), disk.place.name.size());
  }
  append(bytes, record.group.data(), record.group.size());
  store_raw(bytes.data() + kJobChecksumAt, Le32(crc32c(bytes)));
  return bytes;
}

Result<JobRecord> decode_job(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(RawJob)) return bad_job("job record: cut short");
  const auto raw = load_raw<RawJob>(bytes.data());
  if (raw.magic != kJobMagic) return bad_job("job record: magic");
  if (raw.version != kJobVersion) {
    return Error{.code = Errc::kVersion,
                 .where = "job record: version",
                 .found = raw.version,
                 .expected = kJobVersion};
  }
  if (const auto sum = crc32c_with_field_zero(bytes, kJobChecksumAt); raw.checksum != sum) {
    return Error{.code = Errc::kChecksum,
                 .where = "job record: CRC",
                 .found = raw.checksum,
                 .expected = sum};
  }
  if (raw.state < 1 || raw.state > 7) return bad_job("job record: state");
  if (raw.forced > 1 || raw.reserved != 0) return bad_job("job record: reserved bytes");
  if (raw.disk_count > kJobDisksMax) return bad_job("job record: number of disks");
  JobRecord record{.state = static_cast<JobState>(raw.state),
                   .job = raw.job,
                   .attempt = raw.attempt,
                   .source = raw.source,
                   .target = raw.target,
                   .forced = raw.forced == 1};
  std::span<const std::byte> rest = bytes.subspan(sizeof raw);
  for (std::uint32_t i = 0; i < raw.disk_count; ++i) {
    VHDXM_TRY(JobDisk disk, take_disk(rest));
    record.disks.push_back(std::move(disk));
  }
  if (rest.size() < raw.group_bytes) return bad_job("job record: cut short");
  record.group = take_text(rest, raw.group_bytes);
  if (!rest.empty()) return bad_job("job record: bytes behind its end");
  VHDXM_TRY_VOID(check(record));
  return record;
}

}  // namespace vhdxm::migration
