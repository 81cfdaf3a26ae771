// What stands in an owner record or in a job's record of a hand-over: {u8: bit 0 keeps the CRC, bit
// 1 is a job's record} and its bytes. The CRC is made good unless the input says otherwise, so that
// what is behind it is reached. Oracle: what is accepted encodes to the same bytes.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/little_endian.h"
#include "migration/job_record.h"
#include "migration/ownership_record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vhdxm;
  using namespace vhdxm::migration;
  constexpr std::size_t kChecksumAt = 12;
  if (size < 1) return 0;
  const auto input = std::as_bytes(std::span(data, size)).subspan(1);
  std::vector<std::byte> bytes(input.begin(), input.end());
  if ((data[0] & 1) == 0 && bytes.size() >= kChecksumAt + 4) {
    store_raw(bytes.data() + kChecksumAt, Le32(0));
    const Le32 checksum = crc32c(bytes);
    store_raw(bytes.data() + kChecksumAt, checksum);
  }
  if ((data[0] & 2) != 0) {
    const Result<JobRecord> record = decode_job(bytes);
    if (record.has_value()) VHDXM_CHECK(encode(*record) == bytes);
    if (record.has_error()) VHDXM_CHECK(*record.error().where != '\0');
    return 0;
  }
  const Result<OwnershipRecord> record = decode_ownership(bytes);
  if (record.has_value()) VHDXM_CHECK(encode(*record) == bytes);
  if (record.has_error()) VHDXM_CHECK(*record.error().where != '\0');
  return 0;
}
