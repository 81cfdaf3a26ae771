#include "transfer/cell_hash.h"

#include "base/check.h"
#include "base/little_endian.h"

namespace vhdxm::transfer {

SectorPresence::SectorPresence(std::uint64_t cell_bytes, std::uint32_t sector_bytes)
    : sector_bytes_(sector_bytes), sectors_(static_cast<std::size_t>(cell_bytes / sector_bytes)) {
  VHDXM_CHECK(sector_bytes >= kSectorBytesMin && cell_bytes <= kCellBytes);
}

void SectorPresence::set(std::uint64_t begin, std::uint64_t length) {
  const auto first = static_cast<std::size_t>(begin / sector_bytes_);
  const auto count = static_cast<std::size_t>(length / sector_bytes_);
  VHDXM_CHECK(first <= sectors_ && count <= sectors_ - first);
  for (std::size_t sector = first; sector < first + count; ++sector) {
    bits_[sector / 8] |= std::byte{1} << (sector % 8);
  }
  present_ += count;
}

Hash128 cell_hash(std::span<const std::byte> bytes, const SectorPresence& presence,
                  std::uint64_t seed) {
  if (!presence.any()) return {};
  const Hash128 content = hash128(bytes, seed);
  if (presence.all()) return content;
  const Hash128 sectors = hash128(presence.bits(), seed);
  const std::array<Le64, 4> both = {content.low, content.high, sectors.low, sectors.high};
  return hash128(std::as_bytes(std::span(both)), seed);
}

}  // namespace vhdxm::transfer
