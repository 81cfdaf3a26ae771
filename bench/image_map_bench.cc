// How fast a disk's map is read: the whole BAT of a 1 TiB disk, every second block allocated, which
// is as many extents as there can be.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "base/memory_file.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/image.h"

namespace vhdxm::vhdx {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr std::uint64_t kVirtualBytes = 1024 * 1024 * kMiB;

std::shared_ptr<File> alternating_disk(std::uint32_t block_bytes) {
  Description description;
  description.geometry = {.virtual_size_bytes = kVirtualBytes, .block_bytes = block_bytes};
  description.virtual_disk_id = Guid::random();
  description.data_write_guid = Guid::random();
  BlockPlan plan(description.geometry);
  for (std::uint64_t block = 0; block < kVirtualBytes / block_bytes; block += 2) {
    plan.set(block, BlockUse::kFull);
  }
  auto file = std::make_shared<MemoryFile>();
  auto writer = BulkWriter::start(file, description, std::move(plan), {}).value();
  writer->seal().value();
  return file;
}

void BM_ImageMap_WholeDisk(benchmark::State& state) {
  const auto block_bytes = static_cast<std::uint32_t>(state.range(0) * std::int64_t{kMiB});
  const auto file = alternating_disk(block_bytes);
  const std::uint64_t block_count = kVirtualBytes / block_bytes;
  std::vector<Extent> extents;
  for (auto _ : state) {
    auto layer = Layer::open(file, Layer::Replay::kInMemory).value();
    std::uint64_t extent_count = 0;
    std::uint64_t data_bytes = 0;
    for (std::uint64_t at = 0; at < kVirtualBytes;) {
      extents.clear();
      at = layer->map(at, kVirtualBytes - at, extents).value();
      extent_count += extents.size();
      for (const Extent& extent : extents) {
        if (extent.kind == ExtentKind::kData) data_bytes += extent.length;
      }
    }
    VHDXM_CHECK(extent_count == block_count && data_bytes == kVirtualBytes / 2);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(block_count));
}
BENCHMARK(BM_ImageMap_WholeDisk)->Arg(2)->Arg(32)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vhdxm::vhdx
