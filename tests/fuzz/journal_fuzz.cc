// What stands in the file of a journal: {u8 keep the CRC} and its bytes. The CRC is made good
// unless the input says otherwise, so that what is behind it is reached. Oracle: what is accepted
// encodes to the same bytes, and fits itself.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/little_endian.h"
#include "transfer/job_journal.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vhdxm;
  using namespace vhdxm::transfer;
  constexpr std::size_t kChecksumAt = 52;
  if (size < 1) return 0;
  const auto input = std::as_bytes(std::span(data, size)).subspan(1);
  std::vector<std::byte> bytes(input.begin(), input.end());
  if (data[0] == 0 && bytes.size() >= kChecksumAt + 4) {
    store_raw(bytes.data() + kChecksumAt, Le32(0));
    const Le32 checksum = crc32c(bytes);
    store_raw(bytes.data() + kChecksumAt, checksum);
  }
  const Result<JobJournal> journal = decode_journal(bytes);
  if (journal.has_error()) {
    VHDXM_CHECK(*journal.error().where != '\0');
    return 0;
  }
  VHDXM_CHECK(encode_journal(*journal) == bytes);
  VHDXM_CHECK(journal->kind == JobKind::kLive
                  ? journal->fits_live(journal->partial.offer)
                  : journal->fits(journal->partial.offer, journal->partial.plan));
  return 0;
}
