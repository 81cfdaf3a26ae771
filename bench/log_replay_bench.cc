// What opening a disk costs that was not shut down: a log of 1 MiB full of entries, replayed in
// memory. Many small entries, and few that are full.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/log_replay.h"

namespace vhdxm::vhdx {
namespace {

using test::LogEntrySpec;
using test::VhdxBuilder;

constexpr std::uint64_t kSectorBytes = 4096;
constexpr Guid kLogGuid = guid_literal("10910910-9109-1091-0910-910910910910");

/// Entries of `sectors` data sectors each, as many as fit. All go to the BAT region, over and over.
std::uint64_t fill_log(VhdxBuilder& disk, std::uint64_t sectors) {
  // The first 126 descriptors share the entry's header sector.
  const std::uint64_t entry_bytes = kSectorBytes + sectors * kSectorBytes;
  std::uint64_t entries = 0;
  for (std::uint64_t at = 0; at + entry_bytes < VhdxBuilder::kMiB; ++entries) {
    LogEntrySpec spec;
    spec.sequence_number = entries + 1;
    for (std::uint64_t i = 0; i < sectors; ++i) {
      spec.descriptors.push_back(
          {.file_offset = VhdxBuilder::kBatAt + (entries + i) % 256 * kSectorBytes, .fill = 0});
    }
    at = disk.add_log_entry(at, spec);
  }
  return entries;
}

void BM_LogReplay(benchmark::State& state) {
  VhdxBuilder disk({.log_guid = kLogGuid});
  const std::uint64_t entries = fill_log(disk, static_cast<std::uint64_t>(state.range(0)));
  for (auto _ : state) {
    const auto header = select_header(*disk.file()).value();
    const auto replayed = replay_in_memory(disk.file(), header).value();
    VHDXM_CHECK(replayed.entry_count == entries);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(entries));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(VhdxBuilder::kMiB));
}
BENCHMARK(BM_LogReplay)->Arg(1)->Arg(64)->ArgName("sectors")->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace vhdxm::vhdx
