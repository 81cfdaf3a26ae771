#include "transfer/ledger.h"

#include <array>

#include "base/check.h"
#include "base/little_endian.h"

namespace vhdxm::transfer {
namespace {

struct RawLedgerEntry {
  Le32 pass;
  Le32 kind;
  Le64 virtual_offset;
  Le64 raw_length;
  Le64 hash_low;
  Le64 hash_high;
};
static_assert(sizeof(RawLedgerEntry) == 2 * 4 + 4 * 8 && alignof(RawLedgerEntry) == 1);

}  // namespace

void Ledger::add(const FrameHeader& frame) {
  const RawLedgerEntry raw{.pass = frame.pass,
                           .kind = static_cast<std::uint32_t>(frame.kind),
                           .virtual_offset = frame.virtual_offset,
                           .raw_length = frame.raw_length,
                           .hash_low = frame.hash.low,
                           .hash_high = frame.hash.high};
  std::array<std::byte, sizeof raw> bytes{};
  store_raw(bytes.data(), raw);
  sum_ += hash128(bytes, seed_);
  ++entries_;
  raw_bytes_ += frame.raw_length;
}

void Ledger::merge(const Ledger& other) {
  VHDXM_CHECK(seed_ == other.seed_);
  sum_ += other.sum_;
  entries_ += other.entries_;
  raw_bytes_ += other.raw_bytes_;
}

}  // namespace vhdxm::transfer
