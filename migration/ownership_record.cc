#include "migration/ownership_record.h"

#include <array>

#include "base/crc32c.h"
#include "base/little_endian.h"
#include "migration/errc.h"

namespace vhdxm::migration {
namespace {

constexpr std::array<std::uint8_t, 8> kOwnerMagic = {'V', 'H', 'D', 'X', 'M', 'O', 'W', 'N'};
constexpr std::uint16_t kOwnerVersion = 1;

struct RawOwnership {
  std::array<std::uint8_t, 8> magic;
  Le16 version;
  std::uint8_t state;
  std::uint8_t reserved;
  Le32 checksum;  ///< CRC-32C of all of this, with zero here.
  OwnershipId id;
  Le64 epoch;
  JobId job;
  AttemptId attempt;
  HostId source;
  HostId target;
  Le64 ledger_low;
  Le64 ledger_high;
  Le64 reserved_too;
};
static_assert(sizeof(RawOwnership) == kOwnershipRecordBytes && alignof(RawOwnership) == 1);
constexpr std::size_t kChecksumAt = 12;

Error bad(const char* where) {
  return Error{.code = Errc::kRecord, .where = where};
}

}  // namespace

const char* to_string(OwnershipState state) {
  switch (state) {
    case OwnershipState::kOwned:
      return "owned";
    case OwnershipState::kHandover:
      return "hand-over";
    case OwnershipState::kReleased:
      return "released";
    case OwnershipState::kReceiving:
      return "receiving";
    case OwnershipState::kIncoming:
      return "incoming";
  }
  return "unknown";
}

std::vector<std::byte> encode(const OwnershipRecord& record) {
  RawOwnership raw{};
  raw.magic = kOwnerMagic;
  raw.version = kOwnerVersion;
  raw.state = static_cast<std::uint8_t>(record.state);
  raw.id = record.id;
  raw.epoch = record.epoch;
  raw.job = record.job;
  raw.attempt = record.attempt;
  raw.source = record.source;
  raw.target = record.target;
  raw.ledger_low = record.ledger.low;
  raw.ledger_high = record.ledger.high;
  std::vector<std::byte> bytes(sizeof raw);
  store_raw(bytes.data(), raw);
  store_raw(bytes.data() + kChecksumAt, Le32(crc32c(bytes)));
  return bytes;
}

Result<OwnershipRecord> decode_ownership(std::span<const std::byte> bytes) {
  if (bytes.size() != sizeof(RawOwnership)) {
    return Error{.code = Errc::kRecord,
                 .where = "owner record: length",
                 .found = bytes.size(),
                 .expected = sizeof(RawOwnership)};
  }
  const auto raw = load_raw<RawOwnership>(bytes.data());
  if (raw.magic != kOwnerMagic) return bad("owner record: magic");
  if (raw.version != kOwnerVersion) {
    return Error{.code = Errc::kVersion,
                 .where = "owner record: version",
                 .found = raw.version,
                 .expected = kOwnerVersion};
  }
  if (const auto sum = crc32c_with_field_zero(bytes, kChecksumAt); raw.checksum != sum) {
    return Error{.code = Errc::kChecksum,
                 .where = "owner record: CRC",
                 .found = raw.checksum,
                 .expected = sum};
  }
  if (raw.reserved != 0 || raw.reserved_too != 0) return bad("owner record: reserved bytes");
  if (raw.state < 1 || raw.state > 5) return bad("owner record: state");
  OwnershipRecord record{.id = raw.id,
                         .epoch = raw.epoch,
                         .state = static_cast<OwnershipState>(raw.state),
                         .job = raw.job,
                         .attempt = raw.attempt,
                         .source = raw.source,
                         .target = raw.target,
                         .ledger = {.low = raw.ledger_low, .high = raw.ledger_high}};
  if (record.id.is_zero()) return bad("owner record: the ownership id is zero");
  if (record.epoch == 0 || record.epoch > kEpochMax) return bad("owner record: epoch");
  if (record.state != OwnershipState::kOwned && record.job == JobId{}) {
    return bad("owner record: a state of a job, without a job");
  }
  return record;
}

}  // namespace vhdxm::migration
