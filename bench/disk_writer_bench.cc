// A disk in use: how fast blocks are allocated, how fast 4 KiB are overwritten compared with a raw
// file, and what opening the largest disk costs.
//
// Files are made in $VHDXM_BENCH_DIR, or the folder for temporary files; a real file system tells
// more than one in memory. compare_writer.sh runs the same work on QEMU.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "base/check.h"
#include "base/directory.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/disk_writer.h"

namespace vhdxm::vhdx {
namespace {

std::string bench_folder() {
  const char* folder = std::getenv("VHDXM_BENCH_DIR");
  return folder == nullptr ? std::filesystem::temp_directory_path().string() : folder;
}

/// A file that goes with the object.
class BenchFile {
 public:
  explicit BenchFile(const std::string& name)
      : path_(bench_folder() + "/vhdxm-bench-" + std::to_string(::getpid()) + "-" + name) {
    std::filesystem::remove(path_);
  }
  ~BenchFile() { std::filesystem::remove(path_); }
  BenchFile(const BenchFile&) = delete;
  BenchFile& operator=(const BenchFile&) = delete;

  std::shared_ptr<PosixFile> make() const {
    const std::filesystem::path path(path_);
    const auto folder = Directory::open(path.parent_path().string()).value();
    return folder->create_file(path.filename().string(), false).value();
  }
  void make_disk(const Geometry& geometry) const {
    Description description;
    description.geometry = geometry;
    create(make(), description).value();
  }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

/// Every write in a new block, and one flush for all or one for each.
void BM_DiskWriter_Allocate(benchmark::State& state) {
  const auto block_bytes = static_cast<std::uint32_t>(state.range(0) * std::int64_t{kMiB});
  const bool flush_each = state.range(1) != 0;
  constexpr std::uint64_t kBlocks = 1000;
  const std::vector<std::byte> bytes(4096, std::byte{0x5a});
  const BenchFile file("allocate.vhdx");
  DiskWriter::Counters counters;
  for (auto _ : state) {
    state.PauseTiming();
    std::filesystem::remove(file.path());
    file.make_disk({.virtual_size_bytes = kBlocks * block_bytes, .block_bytes = block_bytes});
    auto disk = DiskWriter::open(file.path(), {}).value();
    state.ResumeTiming();
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      disk->write(block * block_bytes, bytes).value();
      if (flush_each) disk->flush().value();
    }
    disk->flush().value();
    state.PauseTiming();
    counters = disk->counters();
    VHDXM_CHECK(counters.allocated_blocks == kBlocks);
    disk.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBlocks));
  state.counters["flushes_per_1000"] = static_cast<double>(counters.journal.flushes);
}
BENCHMARK(BM_DiskWriter_Allocate)
    ->ArgNames({"block_mib", "flush_each"})
    ->ArgsProduct({{1, 4}, {0, 1}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

constexpr std::uint64_t kOverwriteBytes = 256 * kMiB;

template <class Write>
void overwrite(benchmark::State& state, const Write& write) {
  std::mt19937_64 random(static_cast<std::uint64_t>(state.thread_index()) + 1);
  const std::vector<std::byte> bytes(4096, std::byte{0x77});
  for (auto _ : state) write(random() % (kOverwriteBytes / 4096) * 4096, bytes);
  state.SetItemsProcessed(state.iterations());
}

/// 4 KiB at random places of blocks that are there.
void BM_DiskWriter_Overwrite(benchmark::State& state) {
  static std::unique_ptr<BenchFile> file;
  static std::unique_ptr<DiskWriter> disk;
  if (state.thread_index() == 0) {
    file = std::make_unique<BenchFile>("overwrite.vhdx");
    file->make_disk({.virtual_size_bytes = kOverwriteBytes, .block_bytes = 4 << 20});
    disk = DiskWriter::open(file->path(), {}).value();
    const std::vector<std::byte> bytes(kMiB, std::byte{1});
    for (std::uint64_t at = 0; at < kOverwriteBytes; at += kMiB) disk->write(at, bytes).value();
    disk->flush().value();
  }
  overwrite(state, [](std::uint64_t at, std::span<const std::byte> bytes) {
    disk->write(at, bytes).value();
  });
  if (state.thread_index() == 0) {
    disk.reset();
    file.reset();
  }
}
BENCHMARK(BM_DiskWriter_Overwrite)->Threads(1)->Threads(4)->Threads(16)->UseRealTime();

/// The same on a raw file, by the same File.
void BM_RawFile_Overwrite(benchmark::State& state) {
  static std::unique_ptr<BenchFile> file;
  static std::shared_ptr<PosixFile> raw;
  if (state.thread_index() == 0) {
    file = std::make_unique<BenchFile>("overwrite.raw");
    raw = file->make();
    const std::vector<std::byte> bytes(kMiB, std::byte{1});
    for (std::uint64_t at = 0; at < kOverwriteBytes; at += kMiB) raw->write_at(at, bytes).value();
    raw->sync().value();
  }
  overwrite(state, [](std::uint64_t at, std::span<const std::byte> bytes) {
    raw->write_at(at, bytes).value();
  });
  if (state.thread_index() == 0) {
    raw.reset();
    file.reset();
  }
}
BENCHMARK(BM_RawFile_Overwrite)->Threads(1)->Threads(4)->Threads(16)->UseRealTime();

/// Opens an empty disk of 64 TiB for writing, and writes its first and last sector.
void BM_DiskWriter_Open64TiB(benchmark::State& state) {
  const BenchFile file("large.vhdx");
  file.make_disk({.virtual_size_bytes = kVirtualSizeMax,
                  .block_bytes = static_cast<std::uint32_t>(state.range(0) * std::int64_t{kMiB})});
  const std::vector<std::byte> sector(512, std::byte{3});
  const bool with_write = state.range(1) != 0;
  for (auto _ : state) {
    auto disk = DiskWriter::open(file.path(), {}).value();
    if (with_write) {
      disk->write(0, sector).value();
      disk->write(kVirtualSizeMax - sector.size(), sector).value();
    }
    benchmark::DoNotOptimize(disk);
  }
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  state.counters["process_peak_mib"] = static_cast<double>(usage.ru_maxrss) / 1024;
}
BENCHMARK(BM_DiskWriter_Open64TiB)
    ->ArgNames({"block_mib", "write"})
    ->ArgsProduct({{1, 32}, {0, 1}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace vhdxm::vhdx
