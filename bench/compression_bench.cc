// What compression costs: each level on each kind of data, back again, and the probe before it.
// The counter "ratio" is bytes on the wire for each byte of the disk.
#include <benchmark/benchmark.h>

#include <map>

#include "base/check.h"
#include "compression/compressor.h"
#include "compression/probe.h"
#include "tests/support/sample_data.h"

namespace vhdxm::compression {
namespace {

using test::SampleKind;

constexpr std::size_t kExtent = 1 << 20;
constexpr SampleKind kKinds[] = {SampleKind::kMostlyZero, SampleKind::kText, SampleKind::kProgram,
                                 SampleKind::kDatabase, SampleKind::kRandom};
constexpr int kLevels[] = {-7, -3, -1, 1, 2, 3, 4, 5, 6, 7, 9, 12};

/// An extent of that kind; made once.
const std::vector<std::byte>& content(SampleKind kind) {
  static std::map<SampleKind, std::vector<std::byte>> made;
  auto& bytes = made[kind];
  if (bytes.empty()) bytes = test::sample_data(kind, kExtent, 1);
  return bytes;
}

void BM_Compress(benchmark::State& state, SampleKind kind, int level) {
  const auto& raw = content(kind);
  Compressor compressor(kExtent, kLevelMax);
  std::vector<std::byte> packed(kExtent + 256);
  std::size_t length = 0;
  for (auto _ : state) length = compressor.compress(raw, level, packed).value();
  std::vector<std::byte> unpacked(kExtent);
  Decompressor decompressor;
  VHDXM_CHECK(!decompressor.decompress(std::span(packed).first(length), unpacked).has_error());
  VHDXM_CHECK(unpacked == raw);
  state.counters["ratio"] = static_cast<double>(length) / static_cast<double>(kExtent);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kExtent));
}

void BM_Decompress(benchmark::State& state, SampleKind kind, int level) {
  const auto& raw = content(kind);
  Compressor compressor(kExtent, kLevelMax);
  std::vector<std::byte> packed(kExtent + 256);
  packed.resize(compressor.compress(raw, level, packed).value());
  std::vector<std::byte> unpacked(kExtent);
  Decompressor decompressor;
  for (auto _ : state) VHDXM_CHECK(!decompressor.decompress(packed, unpacked).has_error());
  VHDXM_CHECK(unpacked == raw);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kExtent));
}

// Over 64 MiB, which no cache holds: as cold as data that came from a disk can be.
void BM_Probe(benchmark::State& state, SampleKind kind, bool worth_trying) {
  constexpr std::size_t kExtents = 64;
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < kExtents; ++i) {
    const auto& extent = content(kind);
    bytes.insert(bytes.end(), extent.begin(), extent.end());
  }
  std::size_t next = 0;
  for (auto _ : state) {
    const auto extent = std::span(bytes).subspan(next * kExtent, kExtent);
    VHDXM_CHECK(probe(extent).worth_trying == worth_trying);
    next = (next + 1) % kExtents;
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kExtent));
}

[[maybe_unused]] const bool registered = [] {
  for (const SampleKind kind : kKinds) {
    const std::string name = test::to_string(kind);
    for (const int level : kLevels) {
      const std::string suffix = name + "/" + std::to_string(level);
      benchmark::RegisterBenchmark(("BM_Compress/" + suffix).c_str(), BM_Compress, kind, level);
    }
    for (const int level : {-7, 1, 6}) {
      const std::string suffix = name + "/" + std::to_string(level);
      benchmark::RegisterBenchmark(("BM_Decompress/" + suffix).c_str(), BM_Decompress, kind, level);
    }
    benchmark::RegisterBenchmark(("BM_Probe/" + name).c_str(), BM_Probe, kind,
                                 kind != SampleKind::kRandom);
  }
  return true;
}();

}  // namespace
}  // namespace vhdxm::compression
