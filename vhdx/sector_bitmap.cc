#include "vhdx/sector_bitmap.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "base/little_endian.h"

namespace vhdxm::vhdx {

Result<SectorBits> SectorBits::read(File& file, std::uint64_t bitmap_offset,
                                    std::uint64_t first_sector, std::uint64_t sector_count) {
  VHDXM_CHECK(first_sector < kSectorsPerBitmapBlock &&
              sector_count <= kSectorsPerBitmapBlock - first_sector);
  const std::uint64_t begin = first_sector / 8;
  const std::uint64_t end = (first_sector + sector_count + 7) / 8;
  std::vector<std::byte> bytes(static_cast<std::size_t>(end - begin));
  VHDXM_TRY_VOID(read_exact_at(file, bitmap_offset + begin, bytes, "sector bitmap, [MS-VHDX] 2.4"));
  return SectorBits(std::move(bytes), static_cast<std::size_t>(first_sector % 8),
                    static_cast<std::size_t>(sector_count));
}

SectorBits::SectorBits(std::vector<std::byte> bytes, std::size_t first_bit,
                       std::size_t sector_count)
    : bytes_(std::move(bytes)), first_bit_(first_bit), sector_count_(sector_count) {
  VHDXM_CHECK(first_bit_ + sector_count_ <= bytes_.size() * 8);
}

bool SectorBits::is_present(std::size_t sector) const {
  const std::size_t bit = first_bit_ + sector;
  return (std::to_integer<unsigned>(bytes_[bit / 8]) >> (bit % 8) & 1U) != 0;
}

std::size_t SectorBits::run_end(std::size_t sector) const {
  const bool present = is_present(sector);
  const std::size_t end = first_bit_ + sector_count_;
  std::size_t bit = first_bit_ + sector;
  while (bit < end) {
    if (bit % 8 == 0 && bytes_.size() - bit / 8 >= 8) {
      // 64 bits at once: those that differ from the run's.
      const std::uint64_t word = load_raw<Le64>(bytes_.data() + bit / 8);
      const std::uint64_t other = present ? ~word : word;
      bit += static_cast<std::size_t>(std::countr_zero(other));
      if (other != 0) break;
      continue;
    }
    if (is_present(bit - first_bit_) != present) break;
    ++bit;
  }
  return std::min(bit, end) - first_bit_;
}

std::uint64_t first_sector_in_chunk(const Geometry& geometry, std::uint64_t block) {
  return block % geometry.chunk_ratio() * (geometry.block_bytes / geometry.logical_sector_bytes);
}

}  // namespace vhdxm::vhdx
