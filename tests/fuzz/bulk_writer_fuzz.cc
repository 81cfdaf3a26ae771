// Brings a disk to a BulkWriter. The input is {u8 shape, u8 plan...}: the type and sector size, 2
// bits for each of 6 blocks, then operations {u8 what, u24 first sector, u16 sectors}, valid or
// not.
//
// Oracle: a naive disk, one entry a sector. An operation is refused exactly when the rules of
// bulk_writer.h say so; the sealed file passes check() and shows what the naive disk holds.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/little_endian.h"
#include "base/memory_file.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/check.h"
#include "vhdx/image.h"

namespace {

using namespace vhdxm;
using namespace vhdxm::vhdx;

constexpr std::uint64_t kBlocks = 6;
constexpr std::uint64_t kBlockBytes = kMiB;

/// What a sector holds: kTransparent, or the byte that fills it.
using Sector = std::int16_t;
constexpr Sector kTransparent = -1;

class Naive {
 public:
  Naive(const Geometry& geometry, const BlockPlan& plan)
      : is_child_(geometry.type == DiskType::kDifferencing),
        sector_bytes_(geometry.logical_sector_bytes),
        sectors_(static_cast<std::size_t>(geometry.virtual_size_bytes / sector_bytes_)) {
    // Nobody has said anything: full blocks are zeros, partial and absent ones transparent.
    for (std::uint64_t i = 0; i < sectors_.size(); ++i) {
      uses_.push_back(plan.use(i * sector_bytes_ / kBlockBytes));
      if (is_child_ && uses_.back() != BlockUse::kFull) sectors_[i] = kTransparent;
    }
  }

  bool write(std::uint64_t first, std::uint64_t count, std::uint8_t fill) {
    if (!inside(first, count)) return false;
    for (std::uint64_t i = first; i < first + count; ++i) {
      if (uses_[i] == BlockUse::kAbsent) return false;
    }
    set(first, count, fill);
    return true;
  }

  bool mark(ExtentKind kind, std::uint64_t first, std::uint64_t count) {
    if (!inside(first, count)) return false;
    if (kind == ExtentKind::kData) return false;
    const bool transparent = kind == ExtentKind::kParent;
    if (transparent && !is_child_) return false;
    const std::uint64_t per_block = kBlockBytes / sector_bytes_;
    for (std::uint64_t i = first; i < first + count; ++i) {
      if (uses_[i] == BlockUse::kFull && transparent) return false;
      if (uses_[i] != BlockUse::kAbsent) continue;
      const std::uint64_t begin = i / per_block * per_block;
      const std::uint64_t end = std::min<std::uint64_t>(begin + per_block, sectors_.size());
      if (first > begin || first + count < end) return false;
    }
    set(first, count, transparent ? kTransparent : Sector{0});
    return true;
  }

  void expect_in(Layer& layer) const {
    std::vector<std::byte> bytes;
    std::vector<Extent> extents;
    const std::uint64_t size = sectors_.size() * sector_bytes_;
    for (std::uint64_t at = 0; at < size;) {
      extents.clear();
      const auto mapped = layer.map(at, size - at, extents);
      VHDXM_CHECK(!mapped.has_error());
      at = *mapped;
      for (const Extent& extent : extents) {
        bytes.assign(static_cast<std::size_t>(extent.length), std::byte{0});
        if (extent.kind == ExtentKind::kData) {
          VHDXM_CHECK(
              !read_exact_at(*extent.file, extent.file_offset, bytes, "payload").has_error());
        }
        const std::uint64_t first = extent.virtual_offset / sector_bytes_;
        for (std::uint64_t i = 0; i < extent.length / sector_bytes_; ++i) {
          const Sector sector = sectors_[first + i];
          VHDXM_CHECK((sector == kTransparent) == (extent.kind == ExtentKind::kParent));
          if (sector == kTransparent) continue;
          for (std::uint64_t k = i * sector_bytes_; k < (i + 1) * sector_bytes_; ++k) {
            VHDXM_CHECK(bytes[k] == static_cast<std::byte>(sector));
          }
        }
      }
    }
  }

 private:
  bool inside(std::uint64_t first, std::uint64_t count) const {
    return first <= sectors_.size() && count <= sectors_.size() - first;
  }
  void set(std::uint64_t first, std::uint64_t count, Sector value) {
    for (std::uint64_t i = first; i < first + count; ++i) sectors_[i] = value;
  }

  const bool is_child_;
  const std::uint64_t sector_bytes_;
  std::vector<Sector> sectors_;
  std::vector<BlockUse> uses_;  ///< Of each sector's block.
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kPlanBytes = (kBlocks + 3) / 4;
  if (size < 1 + kPlanBytes || size > 600) return 0;
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size));
  Geometry geometry;
  geometry.type = static_cast<DiskType>(data[0] % 3);
  geometry.logical_sector_bytes = (data[0] & 0x40) != 0 ? 4096 : 512;
  geometry.block_bytes = kBlockBytes;
  geometry.virtual_size_bytes =
      (kBlocks - 1) * kBlockBytes + 3 * std::uint64_t{geometry.logical_sector_bytes};
  Description description;
  description.geometry = geometry;
  description.virtual_disk_id = kMetadataRegion;  // any that is not zero
  description.data_write_guid = kBatRegion;
  if (geometry.type == DiskType::kDifferencing) {
    description.parent = ParentLocator{
        {{"parent_linkage", "{" + to_string(kBatRegion) + "}"}, {"relative_path", ".\\p.vhdx"}}};
  }
  BlockPlan plan(geometry);
  if (plan.decode(0, input.subspan(1, kPlanBytes)).has_error()) return 0;

  const auto file = std::make_shared<MemoryFile>();
  auto writer = BulkWriter::start(file, description, plan, {});
  VHDXM_CHECK(!writer.has_error());
  Naive naive(geometry, plan);
  std::vector<std::byte> bytes;
  for (auto rest = input.subspan(1 + kPlanBytes); rest.size() >= 6; rest = rest.subspan(6)) {
    const auto what = std::to_integer<std::uint8_t>(rest[0]);
    const std::uint64_t first = load_raw<Le32>(rest.data()) >> 8;
    const std::uint64_t count = load_raw<Le16>(rest.data() + 4);
    const std::uint64_t sector = geometry.logical_sector_bytes;
    bool done = false;
    bool expected = false;
    if (what < 128) {
      if (count * sector > kMiB) continue;  // only to be quick
      bytes.assign(static_cast<std::size_t>(count * sector), static_cast<std::byte>(what));
      done = !(*writer)->write(first * sector, bytes).has_error();
      expected = naive.write(first, count, what);
    } else {
      constexpr std::array kKinds = {ExtentKind::kZero, ExtentKind::kUnmapped, ExtentKind::kParent,
                                     ExtentKind::kData};
      const ExtentKind kind = kKinds[what % 4];
      done = !(*writer)->mark(kind, first * sector, count * sector).has_error();
      expected = naive.mark(kind, first, count);
    }
    VHDXM_CHECK(done == expected);
  }
  VHDXM_CHECK(!(*writer)->seal().has_error());
  const auto report = check(file);
  VHDXM_CHECK(!report.has_error() && report->findings.empty());
  VHDXM_CHECK(!report->corrupt());
  auto layer = Layer::open(file, Layer::Replay::kInMemory);
  VHDXM_CHECK(!layer.has_error());
  naive.expect_in(**layer);
  return 0;
}
