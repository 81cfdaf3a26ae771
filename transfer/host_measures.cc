#include "transfer/host_measures.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "base/buffer_pool.h"
#include "base/hash128.h"
#include "base/processor_time.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint64_t kTriedExtentBytes = 1024 * 1024;
constexpr std::uint64_t kTriedBytesMax = 256 * kTriedExtentBytes;
// Half of free room is left alone: others write here too.
constexpr std::uint64_t kFreePerTried = 2;
constexpr unsigned kWriters = 4;
constexpr std::chrono::milliseconds kTimeMax{350};

struct Share {
  std::uint64_t bytes = 0;
  std::uint64_t processor_ns = 0;
};

/// Writes extents as long as there are some, each where no other thread writes.
Result<Share> write_share(File& file, std::span<const std::byte> bytes,
                          std::atomic<std::uint64_t>& next, std::uint64_t end,
                          const std::atomic<bool>& cancel) {
  const auto until = std::chrono::steady_clock::now() + kTimeMax;
  Share share;
  while (!cancel && std::chrono::steady_clock::now() < until) {
    const std::uint64_t at = next.fetch_add(kTriedExtentBytes);
    if (at >= end) break;
    VHDXM_TRY_VOID(file.write_at(at, bytes));
    share.bytes += kTriedExtentBytes;
  }
  share.processor_ns = thread_processor_ns();
  return share;
}

}  // namespace

Result<WriteMeasure> measure_writing(const Directory& folder, const std::atomic<bool>& cancel) {
  VHDXM_TRY(const std::uint64_t free_bytes, folder.free_bytes());
  const std::uint64_t most = std::min(kTriedBytesMax, free_bytes / kFreePerTried);
  const std::uint64_t end = most - most % kTriedExtentBytes;
  if (end == 0) return WriteMeasure{};
  VHDXM_TRY(const auto file, folder.create_unnamed_file(/*direct=*/true));
  if (!file) return WriteMeasure{};
  file->write_behind();  // as a disk that arrives
  VHDXM_TRY_VOID(file->allocate(0, end));

  BufferPool pool(kTriedExtentBytes, 1);
  const Buffer buffer = pool.acquire();
  // Not zeros: a file system may make holes of them.
  std::memset(buffer.bytes().data(), 0x5a, buffer.bytes().size());
  std::atomic<std::uint64_t> next{0};
  std::vector<Result<Share>> shares(kWriters, Share{});
  const auto begin = std::chrono::steady_clock::now();
  {
    std::vector<std::thread> threads;
    for (auto& share : shares) {
      threads.emplace_back([&] { share = write_share(*file, buffer.bytes(), next, end, cancel); });
    }
    for (auto& thread : threads) thread.join();
  }
  VHDXM_TRY_VOID(file->sync());
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  Share all;
  for (auto& share : shares) {
    VHDXM_TRY(const Share one, std::move(share));
    all.bytes += one.bytes;
    all.processor_ns += one.processor_ns;
  }
  if (all.bytes == 0) return WriteMeasure{};
  return WriteMeasure{
      .bytes_per_second = static_cast<std::uint64_t>(static_cast<double>(all.bytes) / time.count()),
      .processor_ns_per_mib = all.processor_ns / (all.bytes / kTriedExtentBytes)};
}

std::uint64_t host_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return hash128(std::as_bytes(std::span(text)), 0).low;
}

}  // namespace vhdxm::transfer
